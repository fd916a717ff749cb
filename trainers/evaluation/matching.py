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
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., 2:], others[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(b[..., 2:] - b[..., :2], 0, None).prod(-1) for b in (boxes, others)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros(np.broadcast(shared, union).shape), where=union > 0)


def match(detections: pd.DataFrame, truth: Sequence[np.ndarray], iou: float) -> np.ndarray:
    """The lesion that each detection hits.

    Args:
        detections: columns DETECTION_COLUMNS; `slice` is a position in `truth`.
        truth: a slice's lesions, n x 4 pixels; n may be 0. Of lesions overlapped equally the last is taken, as
            pycocotools does.
        iou: threshold, inclusive, above 0 and at most 1.

    Returns:
        For each detection, in input order, the position of its lesion within the slice, or FREE_OF_LESION; int64.

    Raises:
        ValueError: `iou` out of range, a `slice` that `truth` lacks, or a box or confidence that is not finite.
    """
    where = detections["slice"].to_numpy(dtype=np.int64)
    boxes = detections[["x0", "y0", "x1", "y1"]].to_numpy(dtype=np.float64)
    confidence = detections["confidence"].to_numpy(dtype=np.float64)
    _check(where, boxes, confidence, len(truth), iou)
    found = np.full(len(where), FREE_OF_LESION, dtype=np.int64)
    most = max((len(lesions) for lesions in truth), default=0)
    if not len(where) or not most:
        return found

    lesions = np.zeros((len(truth), most, 4))  # padded with boxes without area, which nothing overlaps
    for i, of_slice in enumerate(truth):
        lesions[i, : len(of_slice)] = of_slice
    iou_of = overlaps(boxes[:, None], lesions[where])

    order = np.lexsort((-confidence, where))  # stable: ties stay in input order
    starts = np.flatnonzero(np.diff(where[order], prepend=-1))
    turn = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    by_turn = order[np.argsort(turn, kind="stable")]
    taken = np.zeros((len(truth), most), dtype=bool)
    for now in np.split(by_turn, np.cumsum(np.bincount(turn))[:-1]):  # one detection a slice at a time
        left = np.where(taken[where[now]], 0.0, iou_of[now])
        best = most - 1 - left[:, ::-1].argmax(axis=1)
        hits = left[np.arange(len(now)), best] >= iou
        found[now[hits]] = best[hits]
        taken[where[now[hits]], best[hits]] = True
    return found


def _check(where: np.ndarray, boxes: np.ndarray, confidence: np.ndarray, slices: int, iou: float) -> None:
    if not 0 < iou <= 1:
        raise ValueError(f"iou is {iou}; allowed: above 0 and at most 1.")
    if len(where) and (where.min() < 0 or where.max() >= slices):
        raise ValueError(f"Detections name slices {where.min()} to {where.max()}; allowed: 0 to {slices - 1}.")
    if not (np.isfinite(boxes).all() and np.isfinite(confidence).all()):
        raise ValueError("A detection has a box or a confidence that is not finite; remove it before matching.")
