"""Small reader studies: noise that is called real or synthetic, and readers whose answers a test writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from dashboards.reader_study.answers import Answer, Reader, add_reader
from dashboards.reader_study.app import reader_app
from dashboards.reader_study.cli import app
from dashboards.reader_study.create import Gallery, write_study
from dashboards.reader_study.study import Definition, Form, Item, Lesion, ReadingTest, SliceTruth
from dashboards.web.access import Access
from tests.dashboards.conftest import Serve
from trainers.exceptions import MetsweepError

SIZE = 16


def turing_test(gallery: Gallery, count: int, form: Form = "single", number: int = 1) -> ReadingTest:
    """`count` real and as many synthetic images (or pairs) of noise."""
    draw = np.random.default_rng(number)
    pictures = [
        (gallery.add(_noise(draw), "real", f"real {i}"), gallery.add(_noise(draw), "synthetic", f"synthetic {i}"))
        for i in range(count)
    ]
    items = pictures if form == "pairs" else [(picture,) for pair in pictures for picture in pair]
    return ReadingTest(
        title=f"Test {number}", origin="a against b", form=form, size=SIZE, items=tuple(Item(pictures=p) for p in items)
    )


def lesion_test(gallery: Gallery, count: int, marked: bool = False) -> ReadingTest:
    """Slices of one patient each, with a lesion at (4, 4, 8, 8)."""
    draw = np.random.default_rng(7)
    items = [
        Item(
            pictures=(gallery.add(_noise(draw), "real", f"slice {i}"),),
            truth=SliceTruth(
                slice_id=f"s{i}",
                patient_id=f"p{i}",
                scanner="scanner",
                volume=f"v{i}",
                z=i,
                lesions=(Lesion(box=(4, 4, 8, 8), lesion=1, diameter_mm=7),),
                marks=((4, 4, 8, 8),) if marked else (),
            ),
        )
        for i in range(count)
    ]
    return ReadingTest(title="Lesions", origin="slices", form="lesions", size=SIZE, marked=marked, items=tuple(items))


def study(folder: Path, *tests: Callable[[Gallery], ReadingTest], seed: int = 0) -> Definition:
    """Write a study of these tests."""
    folder.mkdir()
    gallery = Gallery(seed)
    return write_study(folder, [make(gallery) for make in tests], seed, gallery)


def reader_who(
    folder: Path, definition: Definition, name: str, says: Callable[[Item, int], Answer], most: int | None = None
) -> Reader:
    """A new reader who answers everything, or the first `most` items; `says` gets an item and its position."""
    reader = add_reader(folder, definition, name)
    while (asked := reader.next) and (most is None or len(reader.answers) < most):
        answer = says(definition.tests[asked[0]].items[asked[1]], asked[1])
        placed = answer.model_copy(update={"test": asked[0], "item": asked[1]})
        assert reader.answer(len(reader.answers), placed)
    return reader


def _noise(draw: np.random.Generator) -> np.ndarray:
    return draw.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)


def said(kind: str, confidence: int = 3) -> Answer:
    """An answer of `reader_who`."""
    return Answer.model_validate({"test": 0, "item": 0, "kind": kind, "confidence": confidence, "time": 0})


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and output of `metsweep reader-study`; errors of users are raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)
    if isinstance(result.exception, MetsweepError):
        raise result.exception
    assert result.exception is None, result.exception
    return result.exit_code, result.output


def served_reader(
    folder: Path, definition: Definition, serve: Serve, name: str = "Ann", host: str = "127.0.0.1"
) -> tuple[Reader, str]:
    """A new reader and the address of the reader's page; `host` is what the server believes it listens on."""
    reader, access = add_reader(folder, definition, name), Access(host, None)
    served = serve(reader_app(folder, definition, [reader], access), access)
    return reader, f"{served.url}/read/{reader.token}"
