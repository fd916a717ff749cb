"""Small truths and detections, written by hand or drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from trainers.evaluation.outcome import LESION_COLUMNS, SLICE_COLUMNS, Outcome, Truth, match_outcomes
from trainers.matching import DETECTION_COLUMNS

Lesion = tuple[int, float, float, float, float, Any, float]
Detection = tuple[int, float, float, float, float, float]


def make_truth(slices: Sequence[tuple[str, str, str, int]], lesions: Sequence[Lesion]) -> Truth:
    """Slices of (patient, scanner, volume, z); lesions of (slice, x0, y0, x1, y1, lesion, diameter_mm)."""
    table = pd.DataFrame(slices, columns=list(SLICE_COLUMNS[1:]))
    table.insert(0, "slice_id", [f"s{i}" for i in range(len(table))])
    return Truth(table, pd.DataFrame(lesions, columns=list(LESION_COLUMNS)).astype({"slice": np.int64}))


def make_detections(rows: Sequence[Detection]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(DETECTION_COLUMNS)).astype({"slice": np.int64})


def make_outcome(truth: Truth, rows: Sequence[Detection], iou: float = 0.5) -> Outcome:
    return match_outcomes(make_detections(rows), truth, [iou])[iou]


def random_case(
    draw: np.random.Generator, patients: int = 12, skill: float = 1.0, slices: int = 6
) -> tuple[Truth, pd.DataFrame]:
    """Patients whose slices have up to 4 lesions each, of which `skill` finds more or less, and false positives."""
    rows, lesions, detections = [], [], []
    for patient in range(patients):
        ease = draw.normal(skill, 1)
        for z in range(slices):
            where = len(rows)
            rows.append((f"p{patient:02d}", f"scanner{patient % 2}", f"v{patient}", z))
            for number in range(draw.integers(0, 5)):
                x, y = draw.integers(0, 200, 2)
                side = int(draw.integers(4, 30))
                lesions.append((where, x, y, x + side, y + side, 10 * z + number, side * 0.8))
                if draw.normal(ease, 1) > 0:
                    detections.append((where, x, y, x + side, y + side - 1, draw.random()))
            for _ in range(draw.integers(0, 6)):
                x, y = draw.integers(200, 240, 2)
                detections.append((where, x, y, x + 9, y + 9, 0.7 * draw.random()))
    return make_truth(rows, lesions), make_detections(detections)
