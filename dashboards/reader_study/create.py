"""Chooses the images of a reader study and writes its folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dashboards.reader_study.study import (
    DEFINITION,
    IMAGES,
    READERS,
    Box,
    Definition,
    Item,
    Kind,
    Lesion,
    Picture,
    ReaderStudyError,
    ReadingTest,
    SliceTruth,
    View,
)
from dashboards.sources import Source
from trainers.data.slice_set import CORNERS
from trainers.evaluation.froc import froc, operating_point
from trainers.evaluation.outcome import BOX, Outcome
from trainers.evaluation.realism.embedding import tumour_crops

CROP = 32
"""Side of a tumour crop in pixels, as in the paper."""
MARKED_FPS = 1.0
"""False positives per slice of the validation split that a detector's marks make at most."""


class Gallery:
    """The images of a study: files with random names, of equal length if they are of equal size."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng([seed, 13])
        self._images: dict[str, np.ndarray] = {}

    def add(self, pixels: np.ndarray, kind: Kind, origin: str) -> Picture:
        """Take an image, S x S uint8."""
        file = f"{self._draw.bytes(8).hex()}.png"
        self._images[file] = pixels
        return Picture(file=file, kind=kind, origin=origin)

    def write(self, folder: Path) -> None:
        """Write all files, in the order of their names and without compression, whose result depends on the pixels."""
        for file in sorted(self._images):
            Image.fromarray(self._images[file]).save(folder / file, compress_level=0)


def turing_tests(
    real: Source, synthetic: Sequence[Source], views: Sequence[View], pairs: bool, count: int, seed: int, to: Gallery
) -> list[ReadingTest]:
    """Tests of real against synthetic images: one per view and synthetic source, as the paper's four.

    Every test takes `count` images of either kind at random, or as many pairs. No slice occurs twice in the tests of
    the same view, whatever sources have it: whoever has seen an image before knows more of it.

    Raises:
        ReaderStudyError: a source has too few slices with a box that no other has taken, or slices of another size.
    """
    size = real.sets[0].size
    for source in synthetic:
        if source.sets[0].size != size:
            raise ReaderStudyError(
                f"{source.name}: slices of {source.sets[0].size} pixels, but those of {real.name} have {size}; "
                "allowed: equal, or the size would give the answer away."
            )
    draw, tests = np.random.default_rng([seed, 12]), []
    for view in views:
        shown: set[bytes] = set()
        taken = _at_random(real, count * len(synthetic), draw, shown)
        for number, source in enumerate(synthetic):
            kept = taken[count * number : count * (number + 1)]
            drawn = _at_random(source, count, draw, shown)
            compared = [
                (_picture(real, a, "real", view, draw, to), _picture(source, b, "synthetic", view, draw, to))
                for a, b in zip(kept, drawn, strict=True)
            ]
            items = compared if pairs else [(picture,) for pair in compared for picture in pair]
            # A place in the study says nothing of the answer, should a reader's order ever become known.
            items = [items[place] for place in draw.permutation(len(items))]
            what = f"{CROP} x {CROP} tumour crops" if view == "crop" else f"{size} x {size} slices"
            tests.append(
                ReadingTest(
                    title=what,
                    origin=f"{real.name} against {source.name}",
                    form="pairs" if pairs else "single",
                    size=CROP if view == "crop" else size,
                    items=tuple(Item(pictures=pictures) for pictures in items),
                )
            )
    return tests


def lesion_tests(
    source: Source, marks: dict[str, Outcome] | None, count: int, seed: int, to: Gallery
) -> list[ReadingTest]:
    """A test of finding the lesions of real slices; with a detector's marks a second one on the same slices.

    Args:
        marks: the detector's outcomes on the splits `validation`, which decides its confidence, and `test`.

    Raises:
        ReaderStudyError: too few slices, no lesion on them, or the detector was evaluated on others.
    """
    if source.is_synthetic or len(source.places) < count:
        kind = "synthetic" if source.is_synthetic else "real"
        raise ReaderStudyError(
            f"{source.name} has {len(source.places)} {kind} slices; needed: {count} real ones (--count)."
        )
    draw = np.random.default_rng([seed, 12])
    positions = np.sort(draw.permutation(len(source.places))[:count]).tolist()
    if not any(len(source.boxes[position]) for position in positions):
        raise ReaderStudyError(f"{source.name}: the {count} slices drawn have no lesion; raise --count.")
    marked = [None] if marks is None else [None, _marks(marks)]
    tests = []
    for boxes in marked:
        items = []
        for position in positions:
            truth = _truth(source, position, boxes or {})
            if boxes is not None and truth.slice_id not in boxes:
                raise ReaderStudyError(
                    f"The detector of --marks was not evaluated on {truth.slice_id} of {source.name}; needed: an "
                    "evaluation on the test split of the same slice set."
                )
            picture = to.add(source.image(position), "real", f"{source.name}: {truth.slice_id}")
            items.append(Item(pictures=(picture,), truth=truth))
        tests.append(
            ReadingTest(
                title="lesions" if boxes is None else "lesions, with marks of a detector",
                origin=source.name,
                form="lesions",
                size=source.sets[0].size,
                marked=boxes is not None,
                items=tuple(items),
            )
        )
    return tests


def write_study(folder: Path, tests: Sequence[ReadingTest], seed: int, gallery: Gallery) -> Definition:
    """Write a reader study into an empty folder; the definition can be read by its owner alone."""
    (folder / IMAGES).mkdir()
    (folder / READERS).mkdir()
    gallery.write(folder / IMAGES)
    definition = Definition(seed=seed, tests=tuple(tests))
    with os.fdopen(os.open(folder / DEFINITION, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(definition.model_dump_json(indent=1))
    return definition


def _at_random(source: Source, count: int, draw: np.random.Generator, shown: set[bytes]) -> list[int]:
    """Positions of so many slices with a box whose pixels are not among those shown, to which they are added."""
    boxed = np.flatnonzero([len(boxes) > 0 for boxes in source.boxes])
    taken: list[int] = []
    for position in draw.permutation(boxed).tolist():
        if len(taken) == count:
            break
        pixels = hashlib.sha256(source.image(position).tobytes()).digest()
        if pixels not in shown:
            shown.add(pixels)
            taken.append(position)
    if len(taken) < count:
        elsewhere = f", {len(boxed) - len(taken)} of them shown already" if len(taken) < len(boxed) else ""
        raise ReaderStudyError(
            f"{source.name} has {len(boxed)} slices with a box{elsewhere}; needed: {count}, as no slice is shown "
            "twice. Lower --count, or name a larger source, or one that shares no slices with the others."
        )
    return taken


def _picture(source: Source, position: int, kind: Kind, view: View, draw: np.random.Generator, to: Gallery) -> Picture:
    """A slice, or the content of one of its boxes."""
    pixels, origin = source.image(position), f"{source.name}: {source.value(position, 'slice_id')}"
    if view == "slice":
        return to.add(pixels, kind, origin)
    boxes = source.boxes[position]
    box = boxes[int(draw.integers(len(boxes)))]
    crop = tumour_crops(np.array(pixels[None]), [box[None]], CROP)[0]
    return to.add(np.clip(crop.round(), 0, 255).astype(np.uint8), kind, f"{origin}, box {box.tolist()}")


def _truth(source: Source, position: int, marks: dict[str, tuple[Box, ...]]) -> SliceTruth:
    slices, slice_id = source.sets[0], source.value(position, "slice_id")
    boxes = slices.boxes[slices.boxes["slice_id"] == slice_id].reindex(columns=[*CORNERS, "lesion", "diameter_mm"])
    lesions = (
        Lesion(box=tuple(row[:4]), lesion=_known(row[4]), diameter_mm=_known(row[5]))
        for row in boxes.astype(float).to_numpy().tolist()
    )
    return SliceTruth(
        slice_id=slice_id,
        patient_id=source.value(position, "patient_id"),
        scanner=source.value(position, "scanner"),
        volume=source.value(position, "volume"),
        z=int(source.value(position, "z")),
        lesions=tuple(lesions),
        marks=marks.get(slice_id, ()),
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _marks(outcomes: dict[str, Outcome]) -> dict[str, tuple[Box, ...]]:
    """Slice -> boxes of the test split at a confidence that makes at most MARKED_FPS on the validation split."""
    threshold = operating_point(froc(outcomes["validation"]), MARKED_FPS).confidence
    shown = outcomes["test"].at(threshold)
    slice_ids = shown.truth.slices["slice_id"].to_numpy()
    marks: dict[str, tuple[Box, ...]] = {str(slice_id): () for slice_id in slice_ids}
    for place, *box in shown.detections[["slice", *BOX]].to_numpy().tolist():
        marks[str(slice_ids[int(place)])] += (tuple(box),)
    return marks
