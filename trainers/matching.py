"""Which detections hit which lesions: the rule behind every figure (DESIGN section 7, pinned by the paper's Table 1).

Greedy by confidence within a slice: the most confident detection first, ties by input order, each takes the lesion it
overlaps most among those still free, if their IoU is at least the threshold. Every other detection, duplicates on a
hit lesion included, is a false positive. Hence hits + false positives = detections at any IoU threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

DETECTION_COLUMNS = ("slice", "x0", "y0", "x1", "y1", "confidence")
"""A table of detections: position of the slice, box in pixels, confidence 0..1."""
FREE_OF_LESION = -1
"""What `match` gives for a detection that hits no lesion."""


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of boxes ... x 4 with others ... x 4 (x0, y0, x1, y1), broadcast; 0 for boxes without area; float64."""
    boxes, others = np.asarray(boxes, dtype=np.float64), np.asarray(others, dtype=np.float64)
    sides = [
        np.minimum(boxes[..., i + 2], others[..., i + 2]) - np.maximum(boxes[..., i], others[..., i]) for i in (0, 1)
    ]
    shared = np.maximum(sides[0], 0) * np.maximum(sides[1], 0)
    areas = [np.maximum(b[..., 2] - b[..., 0], 0) * np.maximum(b[..., 3] - b[..., 1], 0) for b in (boxes, others)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros(np.broadcast(shared, union).shape), where=union > 0)


def match(detections: pd.DataFrame, truth: Sequence[np.ndarray], iou: float) -> np.ndarray:
    """The lesion that each detection hits at one IoU threshold, as `matches` gives it; n int64."""
    return matches(detections, truth, [iou])[0]


def matches(detections: pd.DataFrame, truth: Sequence[np.ndarray], ious: Sequence[float]) -> np.ndarray:
    """The lesion that each detection hits.

    Args:
        detections: columns DETECTION_COLUMNS, n rows; `slice` is a position in `truth`.
        truth: a slice's lesions, m x 4 pixels; m may be 0. Of lesions overlapped equally the last is taken, as
            pycocotools does.
        ious: thresholds, inclusive, above 0 and at most 1.

    Returns:
        len(ious) x n int64: for each detection, in input order, the position of its lesion within the slice, or
        FREE_OF_LESION.

    Raises:
        ValueError: a threshold out of range, a `slice` that `truth` lacks, or a box or confidence that is not finite.
    """
    where = detections["slice"].to_numpy(dtype=np.int64)
    boxes = detections[["x0", "y0", "x1", "y1"]].to_numpy(dtype=np.float64)
    confidence = detections["confidence"].to_numpy(dtype=np.float64)
    _check(where, boxes, confidence, len(truth), ious)
    lesion_of = np.full((len(ious), len(where)), FREE_OF_LESION, dtype=np.int64)
    rows, positions, overlap = _overlapping(where, boxes, truth, min(ious))
    if not len(rows):
        return lesion_of

    # Most detections overlap no lesion: only the others compete, each with one row of `iou_of`.
    competing, row_of = np.unique(rows, return_inverse=True)
    iou_of = np.zeros((len(competing), positions.max() + 1))
    iou_of[row_of, positions] = overlap
    where, confidence = where[competing], confidence[competing]
    order = np.lexsort((-confidence, where))  # stable: ties keep the input order
    for result, iou in zip(lesion_of, ious, strict=True):
        result[competing] = _greedy(where, np.where(iou_of >= iou, iou_of, 0.0), order, len(truth))
    return lesion_of


def _overlapping(
    where: np.ndarray, boxes: np.ndarray, truth: Sequence[np.ndarray], least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a detection and a lesion of its slice with an IoU of at least `least`.

    Returns:
        Rows of `boxes`, positions of lesions within their slice, and IoUs.
    """
    counts = np.array([len(lesions) for lesions in truth], dtype=np.int64)
    lesions = np.concatenate([np.zeros((0, 4)), *(np.asarray(of_slice, dtype=np.float64) for of_slice in truth)])
    first = np.cumsum(counts) - counts
    corners = np.ascontiguousarray(boxes.T)
    rows, positions, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    here, lesions_here = np.arange(len(where)), counts[where]
    for position in range(counts.max(initial=0)):
        keep = lesions_here > position
        here, lesions_here = here[keep], lesions_here[keep]
        x0, y0, x1, y1 = lesions[first[where[here]] + position].T
        shared = (np.minimum(corners[2, here], x1) > np.maximum(corners[0, here], x0)) & (
            np.minimum(corners[3, here], y1) > np.maximum(corners[1, here], y0)
        )
        near = here[shared]
        overlap = overlaps(boxes[near], lesions[first[where[near]] + position])
        enough = overlap >= least
        rows.append(near[enough])
        positions.append(np.full(int(enough.sum()), position))
        values.append(overlap[enough])
    return np.concatenate(rows), np.concatenate(positions), np.concatenate(values)


def _greedy(where: np.ndarray, iou_of: np.ndarray, order: np.ndarray, slices: int) -> np.ndarray:
    """The column of `iou_of` (detections x lesions; 0 = no match) that each detection takes, in the given order."""
    lesion_of = np.full(len(where), FREE_OF_LESION, dtype=np.int64)
    starts = np.flatnonzero(np.diff(where[order], prepend=-1))
    turn = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    by_turn = order[np.argsort(turn, kind="stable")]
    most = iou_of.shape[1]
    taken = np.zeros((slices, most), dtype=bool)
    for now in np.split(by_turn, np.cumsum(np.bincount(turn))[:-1]):  # one detection per slice at a time
        left = np.where(taken[where[now]], 0.0, iou_of[now])
        best = most - 1 - left[:, ::-1].argmax(axis=1)
        hits = left[np.arange(len(now)), best] > 0
        lesion_of[now[hits]] = best[hits]
        taken[where[now[hits]], best[hits]] = True
    return lesion_of


def _check(where: np.ndarray, boxes: np.ndarray, confidence: np.ndarray, slices: int, ious: Sequence[float]) -> None:
    for iou in ious:
        if not 0 < iou <= 1:
            raise ValueError(f"iou is {iou}; allowed: above 0 and at most 1.")
    if len(where) and (where.min() < 0 or where.max() >= slices):
        raise ValueError(f"Detections name slices {where.min()} to {where.max()}; allowed: 0 to {slices - 1}.")
    if not (np.isfinite(boxes).all() and np.isfinite(confidence).all()):
        raise ValueError("A detection has a box or a confidence that is not finite; remove it before matching.")
