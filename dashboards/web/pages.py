"""Pages from templates, errors as pages, and forms."""

from __future__ import annotations

import io
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote

import numpy as np
from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from PIL import Image
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from sweep.redaction import without_secrets
from sweep.report.html import with_code
from sweep.text import visible
from trainers.exceptions import MetsweepError, StoreError, TrackingError

HEADERS = {
    # Pages hold no inline script or style, and nothing comes from another place.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Other places learn no address, as links hold tokens. `no-referrer` would also make the Origin of forms `null`.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Of every response."""
LARGEST_FORM = 2**16
"""Bytes."""


def templates_of(parts: Sequence[str]) -> Environment:
    """The templates of `dashboards.web` and of other parts, named e.g. `web/base.html.jinja`; all text is escaped.

    The filter `code` lets what stands between backquotes stand out.
    """
    loaders = {part: PackageLoader(f"dashboards.{part}") for part in ("web", *parts)}
    pages = Environment(
        loader=PrefixLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters["code"] = with_code
    return pages


def page(request: Request, template: str, status: int = 200, **content: Any) -> Response:
    """A page, or a fragment of one.

    Args:
        template: e.g. `study/study.html.jinja`.
        content: what the template names; `may_change`, whether this browser may change anything, comes with it.
    """
    environment: Environment = request.app.state.templates
    text = environment.get_template(template).render(content, may_change=request.state.may_change)
    # What a store or a database holds changes at any time; what a browser kept of it would be wrong.
    return HTMLResponse(text, status, {"Cache-Control": "no-store"})


def data(value: Any) -> Response:
    """Values for a script; numbers that are not finite become null."""
    content = to_json(value, inf_nan_mode="null")
    return Response(content, headers={"Cache-Control": "no-store"}, media_type="application/json")


def error_page(request: Request, status: int, message: str) -> Response:
    """What is wrong, in words: for scripts that ask for JSON as `problem`, for htmx as a fragment, else as a page."""
    if request.headers.get("accept") == "application/json":
        return JSONResponse({"problem": shown(message)}, status)
    template = "web/problem.html.jinja" if "hx-request" in request.headers else "web/error.html.jinja"
    return page(request, template, status, title=HTTPStatus(status).phrase, message=shown(message))


def shown(error: object) -> str:
    """An error as people may see it: without secrets and control characters."""
    return visible(without_secrets(error))


async def form(request: Request) -> dict[str, list[str]]:
    """Name -> values of a form.

    Raises:
        HTTPException: it is larger than LARGEST_FORM, or no text.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise HTTPException(413, f"The form is larger than {LARGEST_FORM:,} bytes.")
    try:
        return parse_qs(body.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise HTTPException(400, "The form is not UTF-8 text.") from None


def study_path(name: str) -> str:
    """Where the page of a study is, without the leading slash."""
    return f"study/{quote(name, safe='')}"


def png(pixels: np.ndarray) -> bytes:
    """Grey levels (H x W uint8) as a file."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def whole_number(text: str) -> int | None:
    """A number from an address or a form; None unless the text is one of at most nine digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def refused(request: Request, error: Exception) -> Response:
    """The page of an error that its reader can fix."""
    assert isinstance(error, MetsweepError)
    return error_page(request, 503 if isinstance(error, StoreError | TrackingError) else 400, str(error))


def http_error(request: Request, error: Exception) -> Response:
    """The page of an address or method that the server does not have."""
    assert isinstance(error, HTTPException)
    return error_page(request, error.status_code, f"{error.detail.rstrip('.')}: {request.url.path}")


def fault(request: Request, error: Exception) -> Response:
    """The page of an unexpected error; the server goes on, and logs the traceback."""
    message = f"An unexpected {type(error).__name__} occurred; the terminal of the command shows where. Reload the page"
    response = error_page(request, 500, f"{message} to try again.")
    response.headers.update(HEADERS)  # this page passes no middleware
    return response
