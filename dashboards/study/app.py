"""The application of the studies' pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.slices.app import slice_routes
from dashboards.slices.sets import Sets
from dashboards.study import data as values
from dashboards.study.changes import CHANGES
from dashboards.study.live import State
from dashboards.study.runs import runs_of
from dashboards.study.studies import Studies
from dashboards.study.tables import TABLES
from dashboards.volumes.pages import volume_routes
from dashboards.web.access import Access
from dashboards.web.app import create_app
from dashboards.web.pages import data, form, page, shown, study_path
from trainers.exceptions import ConfigError
from trainers.variants import REAL_ONLY

LAUNCHES = {
    "alive": "running",
    "ended": "ended",
    "gone": "gone silent: the same launch command resumes",
    "never": "unknown: no launch has reported",
}
"""State of a study's last launch -> words."""


def study_app(studies: Studies, access: Access) -> Starlette:
    """Pages of all studies of a store."""
    sets = Sets()

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
        """The page alone, at once: scripts then ask for each part, and show what is wrong with it in its place."""
        name = request.path_params["name"]
        studies.live(name)
        return page(request, "study/study.html.jinja", study=name, path=f"/{study_path(name)}", tables=TABLES)

    def trials(request: Request) -> Response:
        name = request.path_params["name"]
        return data(values.trials_now(*studies.live(name).now(), name))

    def runs(request: Request) -> Response:
        return data(runs_of(_state(request), studies.settings.tracking_uri))

    def table(request: Request) -> Response:
        name = request.path_params["table"]
        if name not in TABLES:
            raise HTTPException(404)
        state = _state(request)
        sections = state.once(f"table {name}", lambda: [*TABLES[name].shown(state)])
        return page(
            request, "study/sections.html.jinja", title=TABLES[name].title, sections=sections, empty=TABLES[name].empty
        )

    async def change(request: Request) -> Response:
        name, change = request.path_params["name"], CHANGES.get(request.path_params["change"])
        if change is None:
            raise HTTPException(404)
        filled = await form(request)
        lines = await run_in_threadpool(lambda: [*change(studies.open(name), filled)])
        studies.live(name).forget()
        return page(request, "study/changed.html.jinja", lines=lines)

    def _state(request: Request) -> State:
        return studies.live(request.path_params["name"]).now()[1]

    def part(compute: Callable[[State, Request], Any]) -> Callable[[Request], Response]:
        return lambda request: data(compute(_state(request), request))

    parts = {
        "figures": part(lambda state, _: values.figures(state)),
        "evidence": part(lambda state, request: values.evidence(state, request.query_params.get("base", REAL_ONLY))),
        "pareto": part(lambda state, request: values.pareto(state, _iou(state, request))),
        "response": part(lambda state, request: values.response(state, _iou(state, request))),
        "froc": part(
            lambda state, request: values.froc(state, _iou(state, request), request.query_params.getlist("arm"))
        ),
        "histories": part(lambda state, _: values.histories(state)),
        "trials": trials,
        "runs": runs,
        "table/{table}": table,
    }
    return create_app(
        [
            Route("/", index),
            Route("/study/{name}", study),
            *slice_routes(lambda name: studies.live(name).now()[1], studies.store, sets),
            *(Route(f"/study/{{name}}/{part}", endpoint) for part, endpoint in parts.items()),
            Route("/study/{name}/{change}", change, methods=["POST"]),
            *volume_routes(lambda name: studies.live(name).now()[1].results, studies.store, sets),
        ],
        access,
        parts=("study", "slices", "volumes"),
    )


def _iou(state: State, request: Request) -> float:
    """The IoU threshold that a request names; ConfigError unless the study has it."""
    ious, asked = state.plan.study.evaluation.ious, request.query_params.get("iou", "")
    for iou in ious:
        if f"{iou:g}" == asked:
            return iou
    raise ConfigError(f"iou is {asked!r}; allowed: {', '.join(f'{iou:g}' for iou in ious)}.")
