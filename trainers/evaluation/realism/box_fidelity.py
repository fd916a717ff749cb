"""Does a detector trained on real slices alone find the tumours that synthetic slices were asked for?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trainers.evaluation.bootstrap import Interval, bootstrap_weights, interval, ratios
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.outcome import (
    BOX,
    LESION_COLUMNS,
    SLICE_COLUMNS,
    Truth,
    match_outcomes,
    name_of,
    with_interval,
)

CANDIDATES = 64
"""Random places tried for a box; the first that is good enough is taken."""
DARK = 10
"""Grey levels up to this are background."""
ON_BRAIN = 0.9
"""Least share of a random box's pixels that lies on brain."""


@dataclass(frozen=True)
class Found:
    """Share of boxes that the detector finds."""

    recall: float
    interval: Interval

    def __str__(self) -> str:
        return with_interval(self.recall, self.interval, 3)


@dataclass(frozen=True)
class BoxFidelity:
    """At one IoU threshold."""

    conditioned: Found
    """Of the conditioning boxes; interval over slices."""
    random: Found
    """Of boxes of the same sizes at random places of the same slices; interval over slices."""
    real: Found
    """The detector's sensitivity on real slices of held-out patients; interval over patients."""

    @property
    def judged(self) -> bool:
        """Whether the detector finds real lesions more often than boxes at random places; if not, it has collapsed."""
        return self.real.recall > self.random.recall


def box_fidelity(
    detections: pd.DataFrame,
    images: np.ndarray,
    boxes: Sequence[np.ndarray],
    on_real: pd.DataFrame,
    real: Truth,
    config: EvaluationConfig,
    placements: int,
    seed: int,
) -> Mapping[str, BoxFidelity]:
    """Recall of conditioning boxes, beside boxes at random places and beside the detector's sensitivity.

    Args:
        detections: what a detector trained on real slices only finds on synthetic slices, columns of
            `matching.DETECTION_COLUMNS`.
        images: the synthetic slices, N x S x S uint8.
        boxes: of each its conditioning boxes, n x 4 pixels; at least one box in all.
        on_real: what it finds on the slices of `real`, which are held out.
        config: IoU thresholds; number and seed of the resamples.
        placements: random placements of every box.

    Returns:
        `iou50`... -> figures.
    """
    truth = _truth(boxes)
    randomised = [_truth(placed) for placed in place_randomly(images, boxes, placements, seed)]
    on_asked = match_outcomes(detections, truth, config.ious)
    by_chance = [match_outcomes(detections, random, config.ious) for random in randomised]
    found_real = match_outcomes(on_real, real, config.ious)
    result: dict[str, BoxFidelity] = {}
    for iou in config.ious:
        hits, boxes_there = _hits(on_asked[iou].found_at, truth)
        chance = [_hits(outcomes[iou].found_at, random) for outcomes, random in zip(by_chance, randomised, strict=True)]
        chance_hits, chance_boxes = (np.sum(part, axis=0) for part in zip(*chance, strict=True))
        real_hits, lesions = _hits(found_real[iou].found_at, real, real.patient_of_slice)
        result[name_of(iou)] = BoxFidelity(
            conditioned=_found(hits, boxes_there, config),
            random=_found(chance_hits, chance_boxes, config),
            real=_found(real_hits, lesions, config),
        )
    return result


def place_randomly(
    images: np.ndarray, boxes: Sequence[np.ndarray], placements: int, seed: int
) -> list[list[np.ndarray]]:
    """Move every box to random places of its slice.

    A place is drawn uniformly from those where the box lies within the slice; the first of 64 is taken that lies on
    brain (9 of 10 pixels brighter than background) and overlaps no conditioning box of the slice; if none does,
    the one that comes closest: least overlap, then most brain.

    Args:
        images: N x S x S uint8.
        boxes: N times n x 4 pixels.
        placements: P.

    Returns:
        P times N times n x 4 float64; sizes are kept.
    """
    draw = np.random.default_rng([seed, 5])
    size = images.shape[1]
    counts = [len(of_slice) for of_slice in boxes]
    flat = np.concatenate([np.zeros((0, 4)), *boxes]).astype(np.float64)
    slice_of = np.repeat(np.arange(len(boxes)), counts)
    sides = flat[:, 2:] - flat[:, :2]
    brain = np.zeros((len(images), size + 1, size + 1), dtype=np.int32)
    np.cumsum(np.cumsum(images > DARK, axis=1, dtype=np.int32), axis=2, out=brain[:, 1:, 1:])
    most = max(counts, default=0)
    asked = np.full((len(boxes), most, 4), -1.0)  # no box: overlaps nothing
    for i, of_slice in enumerate(boxes):
        asked[i, : len(of_slice)] = of_slice

    placed = []
    for _ in range(placements):
        corner = draw.random((len(flat), CANDIDATES, 2)) * (size - sides)[:, None]
        candidates = np.concatenate([corner, corner + sides[:, None]], axis=2)
        at = np.clip(candidates.round().astype(int), 0, size)
        x0, y0, x1, y1 = np.moveaxis(at, -1, 0)
        here = slice_of[:, None]
        bright = brain[here, y1, x1] - brain[here, y0, x1] - brain[here, y1, x0] + brain[here, y0, x0]
        share = bright / np.maximum((x1 - x0) * (y1 - y0), 1)
        shared = _shared_area(candidates[:, :, None], asked[slice_of][:, None]).sum(axis=2)
        cost = shared + np.where(share < ON_BRAIN, 1 - share, 0) / 1e3
        chosen = candidates[np.arange(len(flat)), cost.argmin(axis=1)]  # the first of the best
        placed.append(np.split(chosen, np.cumsum(counts)[:-1]))
    return placed


def _shared_area(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    sides = [np.minimum(a[..., i + 2], b[..., i + 2]) - np.maximum(a[..., i], b[..., i]) for i in (0, 1)]
    return np.maximum(sides[0], 0) * np.maximum(sides[1], 0)


def _truth(boxes: Sequence[np.ndarray]) -> Truth:
    """Synthetic slices as a truth; each counts as its own patient."""
    names = [f"{i:06d}" for i in range(len(boxes))]
    slices = pd.DataFrame({"slice_id": names, "patient_id": names}).reindex(columns=list(SLICE_COLUMNS))
    lesions = pd.DataFrame(np.concatenate(boxes), columns=list(BOX))
    lesions.insert(0, "slice", np.repeat(np.arange(len(boxes)), [len(of_slice) for of_slice in boxes]))
    return Truth(slices, lesions.reindex(columns=list(LESION_COLUMNS)))


def _hits(found_at: np.ndarray, truth: Truth, unit: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Boxes found and boxes in all, by slice or by another unit of slices."""
    where = truth.lesions["slice"].to_numpy(dtype=np.int64)
    of_box = where if unit is None else unit[where]
    units = len(truth.slices) if unit is None else len(truth.patients)
    return np.bincount(of_box[np.isfinite(found_at)], minlength=units), np.bincount(of_box, minlength=units)


def _found(hits: np.ndarray, boxes: np.ndarray, config: EvaluationConfig) -> Found:
    weights = bootstrap_weights(len(boxes), config.bootstraps, config.seed)
    return Found(recall=float(hits.sum() / boxes.sum()), interval=interval(ratios(weights, hits, boxes)))
