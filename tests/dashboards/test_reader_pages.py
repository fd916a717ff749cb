"""The pages of a reader study in a browser: what reaches readers, and that no answer is lost."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Response

from dashboards.reader_study.answers import readers_of
from dashboards.reader_study.scores import TuringScore, score
from dashboards.reader_study.study import IMAGES, READERS, read_definition
from tests.dashboards.conftest import NETWORK, Serve
from tests.dashboards.reader_studies import served_reader, study, turing_test

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "TYPER_STANDARD_TRACEBACK": "1"}
COMMAND = "import sys; from dashboards.reader_study.cli import app; app(sys.argv[1:])"


@contextmanager
def command(folder: Path, port: int, *readers: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`metsweep reader-study serve` in a process of its own, and the link of every reader."""
    options = [option for name in readers for option in ("--reader", name)]
    arguments = [sys.executable, "-c", COMMAND, "serve", str(folder), "--port", str(port), *options]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=os.environ | ENVIRONMENT)
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in readers]
        yield process, {line.partition(" (")[0]: line.rsplit(" ", 1)[1].strip() for line in lines}
    finally:
        process.kill()
        process.wait()


def kinds_by_content(folder: Path) -> dict[bytes, str]:
    """Content of each image file -> its kind: what a simulated reader knows."""
    pictures = [picture for test in read_definition(folder).tests for item in test.items for picture in item.pictures]
    return {(folder / IMAGES / picture.file).read_bytes(): picture.kind for picture in pictures}


def seen(tab: Page) -> list[bytes]:
    """Content of the images on the page, asked for anew."""
    sources = [image.get_attribute("src") or "" for image in tab.locator(".stage img").all()]
    return [tab.request.get(f"{tab.url.partition('/read')[0]}{source}").body() for source in sources]


def answer_by_keys(tab: Page, keys: str) -> None:
    """Answer by keyboard, and wait for the next page."""
    for key in keys:
        tab.keyboard.press(key)
    with tab.expect_navigation():
        tab.keyboard.press("Enter")


def test_two_readers_a_reload_and_a_kill(tmp_path: Path, chromium: Browser) -> None:
    """Ann is always right and certain. Ben calls every image real, and of pairs always picks the left one."""
    folder = tmp_path / "s"
    study(folder, partial(turing_test, count=4), partial(turing_test, count=3, form="pairs", number=2))
    kinds, port = kinds_by_content(folder), free_port()
    lefts = 0
    with chromium.new_context() as ann, chromium.new_context() as ben:
        with command(folder, port, "Ann", "Ben") as (process, links):
            tabs = {name: context.new_page() for name, context in (("Ann", ann), ("Ben", ben))}
            for name, tab in tabs.items():
                tab.goto(links[name])
            for _ in range(5):
                (image,) = seen(tabs["Ann"])
                answer_by_keys(tabs["Ann"], kinds[image][0] + "5")
            tabs["Ann"].keyboard.press("r")
            tabs["Ann"].reload()
            assert "image 6 of 8" in tabs["Ann"].inner_text("main")
            assert tabs["Ann"].locator("input:checked").count() == 0, "what was not saved is asked again"
            for _ in range(3):
                answer_by_keys(tabs["Ben"], "r1")
            process.send_signal(signal.SIGKILL)
            process.wait()
        with command(folder, port, "Ann", "Ben") as (_, again):
            assert again == links, "links outlive the server"
            tabs["Ann"].close()
            tabs["Ann"] = ann.new_page()
            for name, tab in tabs.items():
                tab.goto(links[name])
            assert "image 6 of 8" in tabs["Ann"].inner_text("main")
            assert "image 4 of 8" in tabs["Ben"].inner_text("main")
            for _ in range(3):
                (image,) = seen(tabs["Ann"])
                answer_by_keys(tabs["Ann"], kinds[image][0] + "5")
            for _ in range(5):
                answer_by_keys(tabs["Ben"], "r1")
            for _ in range(3):
                left, _right = seen(tabs["Ann"])
                answer_by_keys(tabs["Ann"], ("l" if kinds[left] == "real" else "r") + "5")
                lefts += kinds[seen(tabs["Ben"])[0]] == "real"
                answer_by_keys(tabs["Ben"], "l2")
            for tab, count in zip(tabs.values(), (11, 11), strict=True):
                assert f"All {count} answers are saved" in tab.inner_text("main")
    single, pairs = score(read_definition(folder), readers_of(folder, read_definition(folder)))
    assert isinstance(single, TuringScore)
    assert isinstance(pairs, TuringScore)
    by_hand = [[4, 0, 0, 4], [4, 0, 4, 0]]
    assert [list(vars(reader.cells).values()) for reader in single.readers if reader.cells] == by_hand
    assert [reader.accuracy.value for reader in single.readers] == [1.0, 0.5]
    assert [reader.area_under_roc and reader.area_under_roc.value for reader in single.readers] == [1.0, 0.5]
    assert single.pooled is not None
    # Of 8 images both call 4 real, and of the others one of two does: agreement 1/2, by chance 12/16 and 4/16.
    assert single.pooled.accuracy.value == 0.75
    assert single.pooled.kappa.value == pytest.approx((1 / 2 - 10 / 16) / (1 - 10 / 16))
    # Of 70 choices of 4 real images one makes Ann right everywhere, and one wrong; Ben is right on half of any.
    assert single.pooled.p == pytest.approx(2 / 70)
    assert [reader.accuracy.value for reader in pairs.readers] == [1.0, lefts / 3]


def test_nothing_but_pixels_differs_between_real_and_synthetic(tmp_path: Path, serve: Serve, tab: Page) -> None:
    """Every byte of every response of 16 items: without pixels and the item's number in the order all are the same."""
    folder = tmp_path / "s"
    definition = study(folder, partial(turing_test, count=8))
    _, url = served_reader(folder, definition, serve)
    kinds = kinds_by_content(folder)
    received: list[Response] = []
    tab.on("response", lambda response: received.append(response))  # Playwright takes no built-in function
    views: dict[tuple[str, ...], list[str]] = {}
    for place in range(16):
        received.clear()
        tab.goto(url)
        tab.wait_for_load_state("networkidle")
        asked = [response for response in received if "/static/" not in response.url]  # those the browser keeps
        view = tuple(sorted(_without_pixels(response, place) for response in asked))
        images = [response.body() for response in received if "/image/" in response.url]
        views.setdefault(view, []).append(kinds[images[0]])
        answer_by_keys(tab, "r3")
    assert [len(shown) for shown in views.values()] == [16]


def _without_pixels(response: Response, place: int) -> str:
    """Address, headers and body of a response as text, with the place replaced and the content of PNG data left out."""
    headers, body = {**response.all_headers()}, response.body()
    headers.pop("date", None)
    if headers["content-type"] == "image/png":
        data = body.index(b"IDAT") + 4
        body = body[:data] + body[data + int.from_bytes(body[data - 8 : data - 4]) + 4 :]  # with the checksum
    else:
        assert int(headers.pop("content-length")) == len(body)
    text = f"{response.url} {response.status} {sorted(headers.items())} {body!r}"
    return re.sub(rf'name="place" value="{place}"|/image/{place}/|image {place + 1} of', "PLACE", text)


def test_readers_reach_only_what_they_are_asked_now(tmp_path: Path, serve: Serve) -> None:
    folder = tmp_path / "s"
    definition = study(folder, partial(turing_test, count=3))
    reader, url = served_reader(folder, definition, serve)
    root = url.partition("/read")[0]
    with httpx.Client(headers={"Origin": root}) as browser:
        assert browser.get(f"{url}/image/0/0").status_code == 200
        for path in (
            "/", "/read/", "/read/x", "/study.json", "/images/", f"/read/{reader.token}/image/1/0",
            f"/read/{reader.token}/image/0/1", f"/read/{reader.token}/../../study.json", "/static/web/../../sources.py",
            f"/static/reader_study/../../{folder}/study.json",
        ):  # fmt: skip
            assert browser.get(f"{root}{path}").status_code == 404, path
        for fields in ({}, {"answer": "real"}, {"answer": "real", "confidence": "6"}, {"answer": "x", "confidence": 1}):
            assert browser.post(url, data={"place": "0", **fields}).status_code == 400
        said = {"answer": "real", "confidence": "2"}
        assert browser.post(url, data={"place": "0", **said}, headers={"Origin": "http://else"}).status_code == 403
        assert reader.answers == []
        assert browser.post(url, data={"place": "0", **said}).status_code == 303
        for place in ("0", "5", "-1", "x", "9" * 99):  # sent twice, from elsewhere, or made up
            assert browser.post(url, data={"place": place, **said}).status_code == 303
        assert len(reader.answers) == 1
        assert browser.get(f"{url}/image/0/0").status_code == 404, "no going back"


def test_answers_are_saved_over_a_network(tmp_path: Path, serve: Serve, tab: Page, problems: list[str]) -> None:
    folder = tmp_path / "s"
    reader, url = served_reader(folder, study(folder, partial(turing_test, count=3)), serve, host="0.0.0.0")
    tab.goto(url.replace("127.0.0.1", NETWORK))
    assert not tab.evaluate("isSecureContext"), "as on a network: the browser does not say which page sends a form"
    answer_by_keys(tab, "r2")
    assert "image 2 of 6" in tab.inner_text("main")
    assert [(answer.kind, answer.confidence) for answer in reader.answers] == [("real", 2)]
    assert all("Opener-Policy header has been ignored" in problem for problem in problems)
    problems.clear()


def test_going_back_in_the_browser_shows_what_is_asked_now(tmp_path: Path, serve: Serve, tab: Page) -> None:
    folder = tmp_path / "s"
    definition = study(folder, partial(turing_test, count=3))
    reader, url = served_reader(folder, definition, serve, "<i>Ann</i>")
    tab.goto(url)
    assert "<i>Ann</i>" in tab.inner_text("header")
    answer_by_keys(tab, "s4")
    answer_by_keys(tab, "s4")
    tab.go_back()
    tab.go_forward()
    assert "image 3 of 6" in tab.inner_text("main")
    assert len(reader.answers) == 2


def test_window_level_and_zoom(tmp_path: Path, serve: Serve, tab: Page) -> None:
    folder = tmp_path / "s"
    _, url = served_reader(folder, study(folder, partial(turing_test, count=3)), serve)
    tab.goto(url)
    picture = tab.locator(".viewer")
    plain = picture.screenshot()
    tab.keyboard.press("]")
    contrast = picture.screenshot()
    tab.keyboard.press("0")
    assert picture.screenshot() == plain != contrast
    for _ in range(60):
        tab.keyboard.press(",")
        tab.keyboard.press("]")
    assert tab.evaluate("viewer.low > 0.9"), "the window has moved to the brightest grey levels"
    tab.keyboard.press("0")
    tab.get_by_role("button", name="Zoom in").click()
    enlarged = picture.screenshot()
    tab.keyboard.press("Shift+ArrowRight")
    moved = picture.screenshot()
    assert len({plain, enlarged, moved}) == 3
    tab.keyboard.press("-")
    assert picture.screenshot() == plain, "zooming out shows the whole image again"
    assert tab.locator("input:checked").count() == 0, "no key of the view answers"
    for key in "]+":
        tab.keyboard.press(key)
    shown = tab.evaluate("`${viewer}`")
    answer_by_keys(tab, "r3")
    assert tab.evaluate("`${viewer}`") == shown != "0,1,1,0,0", "the next image is shown alike"


def test_enter_saves_nothing_without_both_answers(tmp_path: Path, serve: Serve, tab: Page) -> None:
    folder = tmp_path / "s"
    reader, url = served_reader(folder, study(folder, partial(turing_test, count=3)), serve)
    tab.goto(url)
    tab.keyboard.press("r")
    tab.keyboard.press("Enter")
    assert reader.answers == []
    tab.keyboard.press("2")
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
        tab.keyboard.press("Enter")
    assert [(answer.kind, answer.confidence) for answer in reader.answers] == [("real", 2)]


def test_a_missing_image_is_a_page(tmp_path: Path, serve: Serve) -> None:
    folder = tmp_path / "s"
    _, url = served_reader(folder, study(folder, partial(turing_test, count=3)), serve)
    for file in (folder / IMAGES).iterdir():
        file.unlink()
    answer = httpx.get(f"{url}/image/0/0")
    assert answer.status_code == 400
    assert "ask who keeps it" in answer.text
    assert str(folder) not in answer.text


def test_an_answer_that_cannot_be_saved_is_not_given(tmp_path: Path, serve: Serve) -> None:
    folder = tmp_path / "s"
    reader, url = served_reader(folder, study(folder, partial(turing_test, count=3)), serve)
    (file,) = (folder / READERS).iterdir()
    file.rename(tmp_path / "away")
    said = {"place": "0", "answer": "real", "confidence": "2"}
    origin = {"Origin": url.partition("/read")[0]}
    refused = httpx.post(url, data=said, headers=origin)
    assert (refused.status_code, reader.answers) == (400, [])
    assert "cannot be saved" in refused.text
    (tmp_path / "away").rename(file)
    assert httpx.post(url, data=said, headers=origin).status_code == 303
    assert len(reader.answers) == 1


def test_a_folder_is_served_by_one_server(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    study(folder, partial(turing_test, count=3))
    with command(folder, free_port(), "Ann"):
        second = [sys.executable, "-c", COMMAND, "serve", str(folder), "--port", "0"]
        done = subprocess.run(second, capture_output=True, text=True, env=os.environ | ENVIRONMENT)
    assert "is served by another process" in done.stderr


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
