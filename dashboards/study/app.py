"""The application of the studies' pages."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.study.studies import Studies
from dashboards.web.access import Access
from dashboards.web.app import create_app
from dashboards.web.pages import page, shown
from sweep.settings import Settings

LAUNCHES = {
    "alive": "running",
    "ended": "ended",
    "gone": "gone silent: the same launch command resumes",
    "never": "unknown: no launch has reported",
}
"""State of a study's last launch -> words."""


def study_app(settings: Settings, access: Access) -> Starlette:
    """Pages of all studies of a store."""
    studies = Studies(settings)

    def index(request: Request) -> Response:
        return page(
            request,
            "study/index.html.jinja",
            store=shown(studies.store.uri),
            studies=studies.list(),
            launches=LAUNCHES,
            path_of=study_path,
            date=lambda seconds: datetime.fromtimestamp(seconds, UTC),
        )

    def study(request: Request) -> Response:
        report = studies.report(request.path_params["name"])
        return page(request, "study/study.html.jinja", report=report, table=report.table1.section())

    return create_app([Route("/", index), Route("/study/{name}", study, name="study")], access, parts=("study",))


def study_path(name: str) -> str:
    """Where the page of a study is, without the leading slash."""
    return f"study/{quote(name, safe='')}"
