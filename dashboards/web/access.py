"""Who may see and change pages; what a browser may load with them."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.web.pages import HEADERS, error_page

TOKEN = "token"
"""Name of the token in a link."""
READS = {"GET", "HEAD"}


@dataclass(frozen=True)
class Access:
    """Who may do what on a server.

    Where only this machine reaches the server, everyone may read; elsewhere only who has the token. Only who has the
    token may change anything.
    """

    host: str
    """Address that the server listens on."""
    token: str | None
    """Part of the link that the command prints; None: pages check by themselves who asks, e.g. by personal links."""
    public_url: str | None = None
    """What browsers call the server, e.g. `https://sweep.example.org`, if another server stands in front of it."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        return is_loopback(self.host) and self.public_url is None

    @property
    def cookie(self) -> str:
        """Name of the cookie that holds the token: browsers send a cookie to all ports of a host."""
        return f"metsweep-{hashlib.sha256((self.token or '').encode()).hexdigest()[:12]}"

    def has_token(self, request: Request) -> bool:
        """Whether a browser has opened the link with the token before."""
        return self.token is None or self._is_token(request.cookies.get(self.cookie, ""))

    def link_opened(self, request: Request) -> bool:
        """Whether this is the link with the token."""
        return self.token is not None and self._is_token(request.query_params.get(TOKEN, ""))

    def refusal(self, request: Request) -> tuple[int, str] | None:
        """Status and sentence of a request that is refused."""
        if not self._allows(_hostname(request)):
            # A foreign page whose host name suddenly means this machine (DNS rebinding).
            return 403, f"The host {_hostname(request)} is not this server. Open the link that the command printed."
        reads = request.method in READS
        if not self.has_token(request) and not (reads and self.is_local):
            return 403, "This page needs the link that the command printed when it started: the link holds a token."
        if not (_may_read(request) if reads else _same_origin(request)):
            return 403, "The request came from another page. Open this page by itself and repeat the action there."
        return None

    def _allows(self, host: str) -> bool:
        """Whether a browser may know this server by a name: any where every page needs the token."""
        if not is_loopback(self.host):
            return True
        return is_loopback(host) or (self.public_url is not None and host == urlsplit(self.public_url).hostname)

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), (self.token or "").encode())


class Guard:
    """Middleware: refuses requests as `Access` says, and adds HEADERS to every response."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request.state.may_change = self._access.has_token(request)
        answer = self._answer(request) or self._app
        await answer(scope, receive, _with_headers(send))

    def _answer(self, request: Request) -> Response | None:
        """The response to a request that goes no further."""
        if self._access.link_opened(request) and request.method in READS:
            # The token leaves the address bar, so that no bookmark or screenshot holds it. The address has no host, as
            # a server in front may have another; several slashes at its beginning would name one.
            rest = request.url.remove_query_params(TOKEN).query
            address = f"/{quote(request.scope['path'].lstrip('/'))}{f'?{rest}' if rest else ''}"
            response = RedirectResponse(address, 303)
            response.set_cookie(
                self._access.cookie,
                self._access.token or "",
                httponly=True,
                secure=(self._access.public_url or "").startswith("https:"),
                # Sent with links on other pages too, e.g. of a web mail; changes are checked by their origin.
                samesite="lax",
            )
            return response
        refusal = self._access.refusal(request)
        return None if refusal is None else error_page(request, *refusal)


def is_loopback(host: str) -> bool:
    """Whether an address or a name is that of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hostname(request: Request) -> str:
    """The host that a browser asked for; empty if it is no host."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _same_origin(request: Request) -> bool:
    """Whether a page of this server sent the request; browsers say so in one of two headers."""
    if site := request.headers.get("sec-fetch-site"):
        return site == "same-origin"
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host")


def _may_read(request: Request) -> bool:
    """Whether a page of this server, or a person, asks. Other pages may link here and no more.

    Their images and frames would make the server compute, with the person's cookie.
    """
    from_here = request.headers.get("sec-fetch-site", "none") in {"same-origin", "none"}
    return from_here or request.headers.get("sec-fetch-dest") == "document"


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sending
