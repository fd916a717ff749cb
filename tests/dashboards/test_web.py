"""What all pages share: who may see and change them, errors as pages, vendored libraries."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner

from dashboards.reader_study.cli import app as reader_study
from dashboards.web.access import Access
from dashboards.web.app import create_app
from dashboards.web.pages import LARGEST_FORM, form, page
from dashboards.web.serving import link, listening, new_access
from tests.dashboards.conftest import NETWORK, Serve
from tests.dashboards.served import Served
from tests.source_files import ROOT
from trainers.exceptions import ConfigError, StoreError

VENDORED = ROOT / "dashboards" / "web" / "static" / "vendored"
LOCAL = Access("127.0.0.1", "secret-token")
EVERYWHERE = Access("0.0.0.0", "secret-token")


def _read(request: Request) -> Response:
    return page(
        request, "web/error.html.jinja", title="<b>Title</b>", message=f"may change: {request.state.may_change}"
    )


async def _change(request: Request) -> Response:
    return PlainTextResponse(json.dumps(await form(request)))


def _refuse(_: Request) -> Response:
    raise ConfigError("seeds is <3>; allowed: more. See postgresql://me:hunter2@host/db \x1b[2J")


def _away(_: Request) -> Response:
    raise StoreError("The store is away.")


def _fail(_: Request) -> Response:
    raise ZeroDivisionError("hunter2")


APP_ROUTES = [
    Route("/", _read), Route("/change", _change, methods=["POST"]), Route("/refuse", _refuse), Route("/away", _away),
    Route("/fail", _fail),
]  # fmt: skip


@pytest.fixture
def local(serve: Serve) -> Served:
    return serve(create_app(APP_ROUTES, LOCAL), LOCAL)


@pytest.fixture
def everywhere(serve: Serve) -> Served:
    """Like a server beyond loopback, as far as requests can tell."""
    return serve(create_app(APP_ROUTES, EVERYWHERE), EVERYWHERE)


@pytest.fixture
def known(local: Served) -> Iterator[requests.Session]:
    """A browser that has opened the link."""
    with requests.Session() as session:
        assert session.get(local.link).url == f"{local.url}/", "the token leaves the address"
        yield session


def test_on_loopback_everyone_reads_and_only_the_link_changes(local: Served, known: requests.Session) -> None:
    assert "may change: False" in requests.get(f"{local.url}/").text
    own = {"Origin": local.url}
    assert requests.post(f"{local.url}/change", headers=own).status_code == 403
    assert "may change: True" in known.get(f"{local.url}/").text
    answer = known.post(f"{local.url}/change", data={"trial": ["a", "b"], "none": ""}, headers=own)
    assert answer.json() == {"trial": ["a", "b"], "none": [""]}


def test_beyond_loopback_only_the_link_opens(everywhere: Served) -> None:
    for address in ("/", "/?token=", "/?token=secret-tokem", "/static/web/base.css", "/nothing"):
        refused = requests.get(everywhere.url + address)
        assert refused.status_code == 403, address
        assert "needs the link" in refused.text
    assert requests.get(everywhere.url, cookies={EVERYWHERE.cookie: "secret-tokem"}).status_code == 403
    assert requests.get(f"{everywhere.url}/?token=secret-token").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://127.0.0.1:1"}],
    ids=str,
)  # fmt: skip
def test_another_page_changes_nothing(local: Served, known: requests.Session, headers: dict[str, str]) -> None:
    refused = known.post(f"{local.url}/change", headers=headers)
    assert refused.status_code == 403
    assert "came from another page" in refused.text


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_links_here_and_shows_nothing_of_here(local: Served, site: str) -> None:
    for dest in ("image", "iframe", "empty", "script"):
        refused = requests.get(local.url, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Dest": dest})
        assert refused.status_code == 403, dest
    assert requests.get(local.url, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document"}).status_code == 200


def test_a_link_in_a_web_mail_opens_the_page(tab: Page, serve: Serve, everywhere: Served) -> None:
    link = f"{everywhere.url}/?token=secret-token"
    mail = serve(Starlette(routes=[Route("/{_:path}", lambda _: HTMLResponse(f"<a href='{link}'>Link</a>"))]), LOCAL)
    tab.goto(mail.url.replace("127.0.0.1", NETWORK))
    tab.get_by_role("link").click()
    expect(tab.get_by_role("alert")).to_have_text("may change: True")


def test_a_server_with_tls_in_front(serve: Serve) -> None:
    """It keeps the browser's Host, and speaks HTTP with this one, which listens on loopback."""
    access = Access("127.0.0.1", "secret-token", "https://sweep.example.org")
    served = serve(create_app(APP_ROUTES, access), access)
    assert served.link == "https://sweep.example.org/?token=secret-token"
    front = {"Host": "sweep.example.org"}
    assert requests.get(served.url, headers=front).status_code == 403, "the whole network can reach it"
    opened = requests.get(
        f"{served.url}//evil.example/a%3Fb?token=secret-token&x=1", headers=front, allow_redirects=False
    )
    assert (opened.status_code, opened.headers["Location"]) == (303, "/evil.example/a%3Fb?x=1")
    assert "; Secure" in opened.headers["Set-Cookie"]
    known = {access.cookie: "secret-token"}
    assert requests.get(served.url, headers=front, cookies=known).status_code == 200
    own = front | {"Origin": "https://sweep.example.org"}
    assert requests.post(f"{served.url}/change", headers=own, cookies=known).status_code == 200
    assert requests.get(served.url, headers={"Host": "evil.example"}, cookies=known).status_code == 403


@pytest.mark.parametrize(
    "url", ["sweep.example.org", "https://", "https://a/b", "ftp://a", "https://a@b", "https://[a"]
)
def test_a_public_url_is_scheme_and_host(url: str) -> None:
    refused = CliRunner().invoke(reader_study, ["serve", "study", "--public-url", url])
    assert refused.exit_code == 2
    assert "scheme and host alone" in refused.output


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "[::1", "", "127.0.0.1.evil.example"])
def test_a_foreign_name_of_this_machine_is_refused(local: Served, host: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(local.url.rpartition(":")[2]))
    connection.request("GET", "/", headers={"Host": host})
    assert connection.getresponse().status in (400, 403)
    connection.close()


def test_every_response_restricts_what_a_browser_loads(local: Served) -> None:
    for address in ("/", "/nothing", "/refuse", "/fail", "/static/web/base.css"):
        answer = requests.get(local.url + address)
        assert "script-src 'self';" in answer.headers["Content-Security-Policy"], address
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_errors_are_pages_without_markup_secrets_and_control_characters(local: Served) -> None:
    refused = requests.get(f"{local.url}/refuse")
    assert refused.status_code == 400
    assert "seeds is &lt;3&gt;; allowed: more." in refused.text
    assert "hunter2" not in refused.text
    assert "\x1b" not in refused.text
    assert requests.get(f"{local.url}/away").status_code == 503
    assert (requests.get(f"{local.url}/nothing").status_code, requests.get(f"{local.url}/change").status_code) == (
        404,
        405,
    )
    failed = requests.get(f"{local.url}/fail")
    assert failed.status_code == 500
    assert "ZeroDivisionError" in failed.text
    assert "hunter2" not in failed.text
    assert "&lt;b&gt;Title&lt;/b&gt;" in requests.get(f"{local.url}/").text, "the server goes on"


def test_htmx_gets_the_error_alone(local: Served) -> None:
    assert requests.get(f"{local.url}/away", headers={"HX-Request": "true"}).text == (
        '<p class="problem" role="alert">The store is away.</p>'
    )


def test_forms_are_bounded_text(local: Served, known: requests.Session) -> None:
    own = {"Origin": local.url}
    assert known.post(f"{local.url}/change", data=b"a=" + b"x" * LARGEST_FORM, headers=own).status_code == 413
    assert known.post(f"{local.url}/change", data=b"a=%ff", headers=own).status_code == 400
    assert known.post(f"{local.url}/change", data=b"a=\xff", headers=own).status_code == 400


def test_links_have_a_fresh_token_unless_pages_check_who_asks() -> None:
    first, second = new_access("127.0.0.1"), new_access("127.0.0.1")
    assert len(first.token or "") >= 32
    assert first.token != second.token
    assert link(first, 80, "study/a") == f"http://127.0.0.1:80/study/a?token={first.token}"
    assert link(Access("::1", None), 80) == "http://[::1]:80/"
    assert link(Access("0.0.0.0", None), 80) == f"http://{socket.gethostname()}:80/"


def test_a_used_port_is_refused() -> None:
    with (
        listening("127.0.0.1", 0) as used,
        pytest.raises(ConfigError, match=r"Port \d+ on 127\.0\.0\.1 cannot be used"),
    ):
        listening("127.0.0.1", used.getsockname()[1])
    with pytest.raises(ConfigError, match=r"no\.such\.host\.invalid cannot be used"):
        listening("no.such.host.invalid", 0)


def test_vendored_libraries_are_those_that_are_pinned() -> None:
    pins = json.loads((VENDORED / "versions.json").read_text())
    assert {folder.name for folder in VENDORED.iterdir() if folder.is_dir()} == pins.keys()
    for folder, pin in pins.items():
        files = {file.name: _sha256(file) for file in (VENDORED / folder).iterdir()}
        assert files == pin["files"], folder
        assert "LICENSE" in files
        assert pin["version"].count(".") == 2


def test_a_page_in_the_browser_asks_no_other_place_and_keeps_to_the_policy(tab: Page, local: Served) -> None:
    tab.goto(local.link)
    assert tab.url == f"{local.url}/"
    assert tab.get_by_role("alert").text_content() == "may change: True"
    assert tab.evaluate("typeof htmx") == "object"


def test_the_policy_stops_inline_scripts_and_other_places(tab: Page, local: Served, problems: list[str]) -> None:
    tab.goto(local.url)
    tab.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
        "const i = document.createElement('img'); i.src = 'http://192.0.2.1/x.png'; document.body.append(i); }"
    )
    assert tab.evaluate("window.ran") is None
    assert sum("Content Security Policy" in problem for problem in problems) >= 2
    problems.clear()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
