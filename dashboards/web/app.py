"""Makes a web application of routes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from dashboards.web.access import Access, Guard
from dashboards.web.pages import fault, http_error, refused, templates_of
from trainers.exceptions import MetsweepError


def create_app(routes: Sequence[BaseRoute], access: Access, parts: Sequence[str] = ()) -> Starlette:
    """An application whose every response is guarded (`Guard`) and whose every error is a page.

    Endpoints answer with `dashboards.web.pages.page`. Those that read a store or a database are plain functions, which
    Starlette runs in threads.

    Args:
        routes: of the pages.
        access: who may see and change them.
        parts: folders of `dashboards` whose `templates/` and `static/` the pages use; a file of `static/` has the
            address `/static/<part>/<file>`.
    """
    folders = {part: Path(str(files(f"dashboards.{part}"))) / "static" for part in ("web", *parts)}
    static = [Mount(f"/static/{part}", StaticFiles(directory=path)) for part, path in folders.items() if path.is_dir()]
    app = Starlette(
        routes=[*static, *routes],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={MetsweepError: refused, HTTPException: http_error, Exception: fault},
    )
    app.state.templates = templates_of(parts)
    return app
