"""Which attempt at each synthetic image is delivered: the first whose tumours stand out.

The paper discarded unclear slices by hand. Here an image is drawn again until its tumours are visible, so that image i
depends on the GAN, the annotation, the config and i alone, and a synthetic count stays a prefix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainers.gan.review import Review, attempt_id

FILE = "curation.npz"
EXAMPLES = 16
"""Refused attempts that are kept for a picture."""


@dataclass(frozen=True)
class Attempt:
    """One try at a synthetic image."""

    image: int
    number: int
    """0, 1, ...; decides noise and condition together with the image's number."""
    pixels: np.ndarray
    """H x W uint8."""
    boxes: np.ndarray
    """n x 4 float32 (x0, y0, x1, y1), pixels."""
    visibility: float
    """Score of the least visible box that was drawn (`trainers.data.conditions.visibility`)."""

    @property
    def slice_id(self) -> str:
        """Name of the attempt."""
        return attempt_id(self.image, self.number)

    @property
    def short_id(self) -> str:
        """Name of the attempt in pictures."""
        return self.slice_id.removeprefix("synthetic-")


class Curation:
    """Fills images with attempts: says what to draw next and judges what was drawn.

    Args:
        images: numbers of the images to fill.
        threshold: least visibility of an attempt that fills its image at once.
        max_attempts: attempts at an image; if none reaches the threshold, the most visible one fills it.
        review: a human's decisions, which override the score.
    """

    def __init__(self, images: range, threshold: float, max_attempts: int, review: Review) -> None:
        self._threshold = threshold
        self._candidates = {image: review.candidates(image, max_attempts) for image in images}
        self._kept = {reviewed.image for reviewed in review.attempts if reviewed.decision == "keep"}
        self._waiting = deque((image, numbers[0]) for image, numbers in self._candidates.items())
        self._best: dict[int, Attempt] = {}
        self.filled: dict[int, Attempt] = {}
        """Image -> the attempt that fills it."""
        self.refused: list[Attempt] = []
        """The first EXAMPLES attempts that did not reach the threshold."""
        self.attempts = 0
        """Attempts judged so far."""
        self.unclear = 0
        """Images that no attempt filled clearly."""

    @property
    def discard_rate(self) -> float:
        """Share of the attempts judged so far that fill no image; 0 before the first."""
        return 1 - (len(self.filled) + len(self._best)) / self.attempts if self.attempts else 0.0

    def next(self, most: int) -> list[tuple[int, int]]:
        """Up to `most` attempts to draw now: image and number of each; none when every image is filled."""
        return [self._waiting[place] for place in range(min(most, len(self._waiting)))]

    def judge(self, drawn: Sequence[Attempt]) -> None:
        """Judge what was drawn: the attempts of `next`, in their order."""
        again: list[tuple[int, int]] = []
        for attempt in drawn:
            self._waiting.popleft()
            again += self._judge(attempt)
        self._waiting.extendleft(reversed(again))

    def _judge(self, attempt: Attempt) -> list[tuple[int, int]]:
        """Judge an attempt; returns the next attempt at its image, if another is needed."""
        self.attempts += 1
        image, numbers = attempt.image, self._candidates[attempt.image]
        if image in self._kept or attempt.visibility >= self._threshold:
            self._best.pop(image, None)
            self.filled[image] = attempt
            return []
        if len(self.refused) < EXAMPLES:
            self.refused.append(attempt)
        best = max(self._best.pop(image, attempt), attempt, key=lambda candidate: candidate.visibility)
        place = numbers.index(attempt.number) + 1
        if place < len(numbers):
            self._best[image] = best
            return [(image, numbers[place])]
        self.unclear += 1
        self.filled[image] = best
        return []

    def save(self, folder: Path) -> None:
        """Write what was judged so far into an existing folder."""
        parts = {"filled": list(self.filled.values()), "best": list(self._best.values()), "refused": self.refused}
        arrays = {f"{name}_{key}": array for name, part in parts.items() for key, array in _packed(part).items()}
        arrays["waiting"] = np.array(self._waiting, dtype=np.int64).reshape(-1, 2)
        arrays["counts"] = np.array([self.attempts, self.unclear])
        np.savez(folder / FILE, allow_pickle=False, **arrays)

    def restore(self, folder: Path) -> None:
        """Continue from what `save` wrote for the same images, threshold and review."""
        with np.load(folder / FILE) as saved:
            self._waiting = deque((int(image), int(number)) for image, number in saved["waiting"])
            self.attempts, self.unclear = saved["counts"].tolist()
            self.filled = {attempt.image: attempt for attempt in _unpacked(saved, "filled")}
            self._best = {attempt.image: attempt for attempt in _unpacked(saved, "best")}
            self.refused = _unpacked(saved, "refused")


def _packed(attempts: Sequence[Attempt]) -> dict[str, np.ndarray]:
    return {
        "names": np.array([(attempt.image, attempt.number) for attempt in attempts], dtype=np.int64).reshape(-1, 2),
        "pixels": np.array([attempt.pixels for attempt in attempts], dtype=np.uint8),
        "boxes": np.concatenate([np.zeros((0, 4), dtype=np.float32), *(attempt.boxes for attempt in attempts)]),
        "boxes_of": np.array([len(attempt.boxes) for attempt in attempts], dtype=np.int64),
        "visibility": np.array([attempt.visibility for attempt in attempts], dtype=np.float64),
    }


def _unpacked(saved: Any, name: str) -> list[Attempt]:
    names, images, corners, boxes_of, visibility = (
        saved[f"{name}_{key}"] for key in ("names", "pixels", "boxes", "boxes_of", "visibility")
    )
    boxes = np.split(corners, np.cumsum(boxes_of)[:-1]) if len(boxes_of) else []
    return [
        Attempt(image, number, pixels, own, score)
        for (image, number), pixels, own, score in zip(names.tolist(), images, boxes, visibility.tolist(), strict=True)
    ]
