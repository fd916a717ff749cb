"""The pages of a review: a grid of synthetic slices, the least visible tumours first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.review.decisions import Decisions, agreement
from dashboards.sources import Source
from dashboards.web.access import Access
from dashboards.web.app import create_app
from dashboards.web.pages import form, page, png, whole_number
from trainers.gan.review import DECISIONS, Decision

PER_PAGE = 60


@dataclass(frozen=True)
class Card:
    """One slice as a reviewer sees it."""

    number: int
    """Position in the source."""
    slice_id: str
    visibility: float
    boxes: list[list[float]]
    """x, y, width, height in pixels."""
    own: Decision | None
    others: Mapping[str, Decision]
    """Empty until the reviewer has decided, so that no one follows another."""


class Slices:
    """The slices of a source in the order of review, with everyone's decisions."""

    def __init__(self, source: Source, decisions: Decisions) -> None:
        self._source, self._decisions = source, decisions
        self.ids: list[str] = source.column("slice_id").tolist()
        self._known = set(self.ids)
        self._visibility = source.column("visibility")
        self._order = np.argsort(self._visibility, kind="stable").tolist()

    def shown(self, reviewer: str, which: str, begin: int) -> list[int]:
        """Up to PER_PAGE + 1 ranks of slices that a filter leaves, from rank `begin` on; rank 0 is the least visible.

        The next page begins behind the last rank of this one: decisions made meanwhile move no slice past the reviewer.
        """
        ranks = (rank for rank in range(begin, len(self.ids)) if self._passes(FILTERS[which], reviewer, rank))
        return list(itertools.islice(ranks, PER_PAGE + 1))

    def at(self, rank: int) -> int:
        """The position of the slice of a rank."""
        return self._order[rank]

    def _passes(self, passes: Callable[..., bool], reviewer: str, rank: int) -> bool:
        given = self._decisions.of(self.ids[self._order[rank]])
        return passes(given.get(reviewer), given.values())

    def card(self, place: int, reviewer: str) -> Card:
        """One slice."""
        given = self._decisions.of(self.ids[place])
        own = given.pop(reviewer, None)
        boxes = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in self._source.boxes[place].tolist()]
        return Card(place, self.ids[place], float(self._visibility[place]), boxes, own, given if own else {})

    def png(self, place: int) -> bytes:
        """The pixels of a slice."""
        return png(self._source.image(place))

    def summary(self, reviewer: str) -> dict[str, Any]:
        """Counts of a reviewer's decisions, and everyone's agreement."""
        given = self._decisions.given(self._known)
        own = [by.get(reviewer) for by in given]
        return {
            "reviewer": reviewer,
            "kept": own.count("keep"),
            "discarded": own.count("discard"),
            "slices": len(self.ids),
            "agreement": agreement(given),
        }


FILTERS: Mapping[str, Callable[[Decision | None, Iterable[Decision]], bool]] = {
    "undecided": lambda own, _: own is None,
    "all": lambda *_: True,
    "kept": lambda own, _: own == "keep",
    "discarded": lambda own, _: own == "discard",
    "disputed": lambda own, given: own is not None and len(set(given)) > 1,
}
"""Name -> whether a slice is shown, by the reviewer's own decision and everyone's."""


def review_app(source: Source, decisions: Decisions, reviewers: Mapping[str, str], access: Access) -> Starlette:
    """Pages of the reviewers, each by the link `/review/TOKEN`.

    Args:
        reviewers: token -> name.
    """
    slices = Slices(source, decisions)

    def reviewer_of(request: Request) -> tuple[str, str]:
        token = request.path_params["token"]
        if token not in reviewers:
            raise HTTPException(404, "No reviewer has this link. Open the link that the command printed")
        return token, reviewers[token]

    def grid(request: Request) -> Response:
        token, reviewer = reviewer_of(request)
        which = request.query_params.get("show", "undecided")
        if which not in FILTERS:
            raise HTTPException(404, f"No slices are shown as {which}; allowed: {', '.join(FILTERS)}")
        shown = slices.shown(reviewer, which, whole_number(request.query_params.get("from", "")) or 0)
        links = {name: f"/review/{token}?{urlencode({'show': name})}" for name in FILTERS}
        content = {
            "source": source.name,
            "token": token,
            "size": source.sets[0].size,
            "cards": [slices.card(slices.at(rank), reviewer) for rank in shown[:PER_PAGE]],
            "which": which,
            "links": links,
            "later": f"{links[which]}&from={shown[PER_PAGE]}" if len(shown) > PER_PAGE else None,
            "file": str(decisions.file),
        }
        return page(request, "review/grid.html.jinja", **content, **slices.summary(reviewer))

    def image(request: Request) -> Response:
        reviewer_of(request)
        place = request.path_params["place"]
        if place >= len(slices.ids):
            raise HTTPException(404, "The source has no such slice")
        # A slice never changes while the server runs, and its link is fresh in each.
        return Response(slices.png(place), 200, {"Cache-Control": "private, max-age=3600"}, "image/png")

    async def decide(request: Request) -> Response:
        token, reviewer = reviewer_of(request)
        fields = await form(request)
        place, decision = whole_number(fields.get("place", [""])[0]), fields.get("decision", [""])[0]
        if place is None or place >= len(slices.ids) or decision not in DECISIONS:
            raise HTTPException(400, f"Needed: a slice, and one of {', '.join(DECISIONS)}. Reload the page")
        await run_in_threadpool(decisions.decide, reviewer, slices.ids[place], cast(Decision, decision))
        return changed(request, token, reviewer, place)

    async def undo(request: Request) -> Response:
        token, reviewer = reviewer_of(request)
        slice_id = await run_in_threadpool(decisions.undo, reviewer)
        return changed(request, token, reviewer, None if slice_id is None else slices.ids.index(slice_id))

    def changed(request: Request, token: str, reviewer: str, place: int | None) -> Response:
        """The card that changed, if one did, and the summary."""
        card = None if place is None else slices.card(place, reviewer)
        content = {"token": token, "size": source.sets[0].size, "card": card}
        return page(request, "review/changed.html.jinja", **content, **slices.summary(reviewer))

    routes = [
        Route("/review/{token}", grid),
        Route("/review/{token}/image/{place:int}", image),
        Route("/review/{token}/decide", decide, methods=["POST"]),
        Route("/review/{token}/undo", undo, methods=["POST"]),
    ]
    return create_app(routes, access, parts=("review",))
