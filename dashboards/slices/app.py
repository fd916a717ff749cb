"""The addresses of the slice browser."""

from __future__ import annotations

import re
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.slices.browse import EMPTY, Browser, choices
from dashboards.slices.embedding import KINDS, MOST_SETS, Embeddings
from dashboards.slices.sets import Sets
from dashboards.slices.studied import Studied
from dashboards.slices.view import View
from dashboards.web.pages import data, page, png, shown, study_path
from sweep.store import Store
from trainers.exceptions import ConfigError, MetsweepError

STAGE, KEY = re.compile(r"[a-z_]+"), re.compile(r"[0-9a-f]{64}")
AGAIN_S = "1"
"""When to ask again for what cannot be computed now."""
FOREVER = {"Cache-Control": "private, max-age=86400, immutable"}
"""A stage key decides the pixels."""


def slice_routes(studied: Callable[[str], Studied], store: Store, sets: Sets) -> list[Route]:
    """Pages of the slices of every study.

    Args:
        studied: a study by its name, as it is now.
        store: that of the studies.
        sets: keeps what was opened last.
    """
    browser = Browser(sets)
    embeddings = Embeddings(sets)

    def browse(request: Request) -> Response:
        name = request.path_params["name"]
        state = studied(name)
        path, problem, content = f"/{study_path(name)}", "", EMPTY
        view = View.of(request.query_params, state.plan.study)
        try:
            content = browser.content(state, view)
        except ConfigError:
            raise
        except MetsweepError as error:
            problem = shown(error)
        fixed = {"study": name, "path": path, "view": view, "problem": problem, **choices(state)}
        return page(request, "slices/browse.html.jinja", **fixed, content=content)

    def image(request: Request) -> Response:
        stage, key, row = (request.path_params[name] for name in ("stage", "key", "row"))
        if STAGE.fullmatch(stage) is None or KEY.fullmatch(key) is None:
            raise HTTPException(404)
        images = sets.open(store, stage, key).slices.images
        if row >= len(images):
            raise HTTPException(404, f"The set has {len(images)} slices")
        return Response(png(images[row]), media_type="image/png", headers=FOREVER)

    def tsne(request: Request) -> Response:
        name = request.path_params["name"]
        fixed = {"study": name, "path": f"/{study_path(name)}", "kinds": KINDS, "most_sets": MOST_SETS}
        return page(request, "slices/tsne.html.jinja", **fixed, **choices(studied(name)))

    def points(request: Request) -> Response:
        query = request.query_params
        made = embeddings.points(studied(request.path_params["name"]), query.get("of", ""), query.getlist("set"))
        return Response(status_code=202, headers={"Retry-After": AGAIN_S}) if made is None else data(made)

    return [
        Route("/slices/{stage}/{key}/{row:int}", image),
        Route("/study/{name}/slices", browse),
        Route("/study/{name}/slices/tsne", tsne),
        Route("/study/{name}/slices/points", points),
    ]
