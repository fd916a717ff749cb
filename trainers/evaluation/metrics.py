"""Sensitivity and false positives, counted by patient so that intervals can be drawn over patients later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pandas as pd

from trainers.evaluation.matching import FREE_OF_LESION, match

COUNTS = ("true_positives", "false_positives", "lesions", "slices")


class Figures(TypedDict):
    """One cell pair of the paper's Table 1 with the counts behind it."""

    sensitivity: float
    fps_per_slice: float
    true_positives: int
    false_positives: int
    lesions: int
    slices: int


def count_by_patient(
    detections: pd.DataFrame, truth: Sequence[np.ndarray], patients: Sequence[str], iou: float
) -> pd.DataFrame:
    """Counts of every patient at one IoU threshold.

    Args:
        detections: columns DETECTION_COLUMNS, those below the confidence threshold already dropped.
        truth: lesions of every slice, n x 4 pixels; slices without lesions or detections belong in it too.
        patients: the patient of every slice.
        iou: threshold, inclusive.

    Returns:
        One row a patient in order of `patient_id`: `patient_id` and COUNTS (int64).
    """
    hit = match(detections, truth, iou) != FREE_OF_LESION
    where = detections["slice"].to_numpy(dtype=np.int64)
    counts = {
        "true_positives": np.bincount(where[hit], minlength=len(truth)),
        "false_positives": np.bincount(where[~hit], minlength=len(truth)),
        "lesions": np.array([len(lesions) for lesions in truth], dtype=np.int64),
        "slices": np.ones(len(truth), dtype=np.int64),
    }
    table = pd.DataFrame({"patient_id": list(patients), **counts})
    return table.groupby("patient_id", as_index=False)[list(COUNTS)].sum()


def figures(counts: pd.DataFrame) -> Figures:
    """Sensitivity over all lesions and false positives per slice over all slices, of rows with COUNTS.

    Raises:
        ValueError: no lesion, so that sensitivity is not defined.
    """
    total = {name: int(counts[name].sum()) for name in COUNTS}
    if not total["lesions"]:
        raise ValueError("No lesion in these slices: sensitivity is not defined. Evaluate slices with lesions.")
    return Figures(
        sensitivity=total["true_positives"] / total["lesions"],
        fps_per_slice=total["false_positives"] / total["slices"],
        true_positives=total["true_positives"],
        false_positives=total["false_positives"],
        lesions=total["lesions"],
        slices=total["slices"],
    )
