"""The pages of a reader study: each reader's next item by a personal link, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dashboards.reader_study.answers import MOST_MARKS, Answer, Mark, Reader, now
from dashboards.reader_study.study import IMAGES, Definition, Item, ReaderStudyError, ReadingTest
from dashboards.web.access import Access
from dashboards.web.app import create_app
from dashboards.web.pages import form, page, whole_number

QUESTIONS = {
    "single": "Is this image real or synthetic?",
    "pairs": "Which of the two images is real?",
    "lesions": "Mark every lesion.",
}
CHOICES = {
    "single": {"real": ("Real", "r"), "synthetic": ("Synthetic", "s")},
    "pairs": {"left": ("Left", "l"), "right": ("Right", "r")},
    "lesions": {},
}
"""Form -> answer -> its label and key."""
CONFIDENCES = {1: "a guess", 2: "unsure", 3: "fairly sure", 4: "sure", 5: "certain"}
_MARKS = TypeAdapter(list[tuple[float, float, float, float, int]])


def reader_app(folder: Path, definition: Definition, readers: Sequence[Reader], access: Access) -> Starlette:
    """Pages of the readers of a study, each by its link `/read/TOKEN`."""
    by_token = {reader.token: reader for reader in readers}

    def reader_of(request: Request) -> Reader:
        reader = by_token.get(request.path_params["token"])
        if reader is None:
            raise HTTPException(404, "No reader has this link. Open the link that you were given")
        return reader

    def show(request: Request) -> Response:
        reader = reader_of(request)
        asked = reader.next
        if asked is None:
            return page(request, "reader_study/done.html.jinja", reader=reader.name, answers=len(reader.answers))
        test = definition.tests[asked[0]]
        content: dict[str, Any] = {
            "reader": reader.name,
            "token": reader.token,
            "place": len(reader.answers),
            "test": test,
            "number": asked[0] + 1,
            "tests": len(definition.tests),
            "done": sum(answer.test == asked[0] for answer in reader.answers),
            "question": QUESTIONS[test.form],
            "choices": CHOICES[test.form],
            "confidences": CONFIDENCES,
            "marks": _shown_marks(test.items[asked[1]]) if test.marked else [],
        }
        return page(request, "reader_study/read.html.jinja", **content)

    def image(request: Request) -> Response:
        """An image of the item that is asked now; no other."""
        reader, place, side = reader_of(request), request.path_params["place"], request.path_params["side"]
        asked = reader.next
        if asked is None or place != len(reader.answers):
            raise HTTPException(404, "This image is not asked now. Open the link that you were given")
        test = definition.tests[asked[0]]
        pictures = test.items[asked[1]].pictures
        if side >= len(pictures):
            raise HTTPException(404, "The item has no such image")
        if test.form == "pairs" and not definition.real_is_left(asked[0], reader.number)[asked[1]]:
            pictures = pictures[::-1]
        return Response(
            _png(folder, pictures[side].file), media_type="image/png", headers={"Cache-Control": "no-store"}
        )

    async def answer(request: Request) -> Response:
        reader, fields = reader_of(request), await form(request)
        asked = reader.next
        place = whole_number(fields.get("place", [""])[0])
        if asked is not None and place is not None and place == len(reader.answers):
            given = _answer(fields, definition, asked, reader)
            await run_in_threadpool(reader.answer, place, given)
        # An answer that was sent twice, or from an old page, changes nothing.
        return RedirectResponse(f"/read/{reader.token}", 303)

    routes = [
        Route("/read/{token}", show),
        Route("/read/{token}", answer, methods=["POST"]),
        Route("/read/{token}/image/{place:int}/{side:int}", image),
    ]
    return create_app(routes, access, parts=("reader_study",))


def _png(folder: Path, file: str) -> bytes:
    try:
        return (folder / IMAGES / file).read_bytes()
    except OSError as error:
        raise ReaderStudyError(f"An image of the study cannot be read ({error.strerror}): ask who keeps it.") from None


def _answer(fields: dict[str, list[str]], definition: Definition, asked: tuple[int, int], reader: Reader) -> Answer:
    """What a reader's form says.

    Raises:
        HTTPException: the form lacks an answer.
    """
    test, item = asked
    reading = definition.tests[test]
    if reading.form == "lesions":
        return Answer(test=test, item=item, marks=_marks(fields, reading), time=now())
    said, confidence = fields.get("answer", [""])[0], whole_number(fields.get("confidence", [""])[0])
    if said not in CHOICES[reading.form] or confidence not in CONFIDENCES:
        raise HTTPException(400, "The answer lacks a choice or a confidence. Open the link again and choose both")
    if reading.form == "pairs":
        real_is_left = bool(definition.real_is_left(test, reader.number)[item])
        said = "real" if (said == "left") == real_is_left else "synthetic"
    kind = "real" if said == "real" else "synthetic"
    return Answer(test=test, item=item, kind=kind, confidence=confidence, time=now())


def _marks(fields: dict[str, list[str]], test: ReadingTest) -> tuple[Mark, ...]:
    """The boxes that a reader drew, within the slice."""
    try:
        drawn = _MARKS.validate_json(fields.get("marks", [""])[0])
        marks = tuple(Mark(box=(x0, y0, x1, y1), confidence=confidence) for x0, y0, x1, y1, confidence in drawn)
    except ValidationError:
        raise HTTPException(
            400, "The marks are missing or cannot be read. Open the link again and mark the lesions anew"
        ) from None
    within = all(0 <= x0 < x1 <= test.size and 0 <= y0 < y1 <= test.size for x0, y0, x1, y1, _ in drawn)
    if not within or len(marks) > MOST_MARKS:
        raise HTTPException(400, f"Marks leave the slice, or are more than {MOST_MARKS}. Open the link again")
    return marks


def _shown_marks(item: Item) -> str:
    return json.dumps([] if item.truth is None else item.truth.marks)
