"""One slice as it is drawn: pictures side by side, each with boxes and a caption."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dashboards.slices.detections import Found
from dashboards.slices.listing import lesion_sizes
from dashboards.slices.sets import Indexed
from sweep.text import count_text
from trainers.evaluation.outcome import BOX

Kind = Literal["truth", "missed", "hit", "fp"]


@dataclass(frozen=True)
class Mark:
    """A box on a slice, in pixels."""

    x: float
    y: float
    width: float
    height: float
    kind: Kind
    words: str = ""


@dataclass(frozen=True)
class Picture:
    """Pixels with marks."""

    title: str
    slices: Indexed
    row: int
    marks: tuple[Mark, ...]
    words: str = ""
    """Caption."""
    problem: str = ""
    """Why there are no marks."""

    @property
    def address(self) -> str:
        """Of the pixels, which never change."""
        return address_of(self.slices, self.row)


def address_of(slices: Indexed, row: int) -> str:
    """Where a slice's pixels are served."""
    return f"/slices/{slices.stage}/{slices.key}/{row}"


def truth_picture(slices: Indexed, row: int, title: str) -> Picture:
    """A slice with its own boxes: lesions of a real one, conditions of a synthetic one."""
    sizes, unit = lesion_sizes(slices.slices.boxes)
    on_slice = np.flatnonzero(slices.row_of_box == row)
    boxes = slices.slices.boxes[[*BOX]].to_numpy(dtype=np.float64)[on_slice]
    said = [f"{size:.3g} {unit}" for size in sizes[on_slice]]
    marks = [_mark(box, "truth", words) for box, words in zip(boxes, said, strict=True)]
    return Picture(title, slices, row, tuple(marks), ", ".join(said) or "no lesion")


def arm_picture(slices: Indexed, row: int, arm: str, found: Found | None, problem: str) -> Picture:
    """The same slice with what an arm's detector finds, misses and takes for a lesion."""
    position = None if found is None else found.position_of.get(row)
    if found is None or position is None:
        return Picture(arm, slices, row, (), problem=problem or "Not among the slices that detectors are evaluated on.")
    marks = tuple(_marks(found, position))
    hits, lesions = int(found.found[position]), int(found.found[position] + found.missed[position])
    fps = count_text(int(found.fps[position]), "FP")
    words = f"{f'{hits} of {lesions} found' if lesions else 'no lesion'}, {fps}"
    return Picture(arm, slices, row, marks, words)


def outlines(boxes: np.ndarray) -> Sequence[Mark]:
    """The boxes of a small picture."""
    return [_mark(box, "truth", "") for box in boxes]


def _marks(found: Found, position: int) -> Iterable[Mark]:
    outcome = found.outcome
    lesions = np.flatnonzero(outcome.truth.lesions["slice"].to_numpy() == position)
    corners = outcome.truth.lesions[[*BOX]].to_numpy(dtype=np.float64)
    for lesion in lesions:
        yield _mark(corners[lesion], *(("truth", "found") if outcome.found[lesion] else ("missed", "missed")))
    here = np.flatnonzero(outcome.detections["slice"].to_numpy() == position)
    detections = outcome.detections.iloc[here]
    of_detections = zip(
        detections[[*BOX]].to_numpy(dtype=np.float64), detections["confidence"], outcome.hit[here], strict=True
    )
    for box, confidence, hit in of_detections:
        yield _mark(box, "hit" if hit else "fp", f"{'hit' if hit else 'false positive'}, confidence {confidence:.3g}")


def _mark(box: np.ndarray, kind: Kind, words: str) -> Mark:
    x0, y0, x1, y1 = box.tolist()
    return Mark(x0, y0, x1 - x0, y1 - y0, kind, words)
