"""The free-response curve: sensitivity against false positives per slice as the confidence threshold falls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from trainers.evaluation.outcome import Outcome

FPS_PER_SLICE = (1.0, 2.0, 4.0, 8.0)
"""False positives per slice at which sensitivity is reported."""
MOST_FPS = 8.0
"""Where FROC axes end."""


@dataclass(frozen=True)
class Operating:
    """Where a curve is read."""

    sensitivity: float
    fps_per_slice: float
    """At most what was asked for."""
    confidence: float
    """Threshold of this point; infinite = no detection."""
    ends_before: bool
    """Whether the curve ends before the false positives asked for: its last point is used."""


def froc(outcome: Outcome) -> pd.DataFrame:
    """The curve of an outcome, as `froc_points` gives it."""
    confidence = outcome.detections["confidence"].to_numpy()
    return froc_points(confidence, outcome.hit, len(outcome.truth.lesions), len(outcome.truth.slices))


def froc_points(confidence: np.ndarray, hit: np.ndarray, lesions: int, slices: int) -> pd.DataFrame:
    """One operating point for every distinct confidence.

    Greedy matching by confidence never revises a more confident detection, so one matching serves all thresholds.

    Args:
        confidence: of every detection of all slices.
        hit: whether it hits a lesion.
        lesions: lesions in all slices, at least 1.
        slices: all slices, those without lesions included.

    Returns:
        Columns `confidence`, `sensitivity`, `fps_per_slice`, by falling confidence; detections of equal confidence pass
        together. Starts with the point without detections (confidence infinite).

    Raises:
        ValueError: no lesion or no slice.
    """
    if lesions < 1 or slices < 1:
        raise ValueError(f"A FROC curve of {lesions} lesions in {slices} slices is not defined; needed: at least 1.")
    order = np.argsort(-np.asarray(confidence, dtype=np.float64), kind="stable")
    falling = np.asarray(confidence, dtype=np.float64)[order]
    last_of_equal = np.flatnonzero(np.append(np.diff(falling) != 0, True)) if len(falling) else np.zeros(0, np.int64)
    hits = np.cumsum(np.asarray(hit, dtype=bool)[order])[last_of_equal]
    return pd.DataFrame(
        {
            "confidence": np.concatenate([[np.inf], falling[last_of_equal]]),
            "sensitivity": np.concatenate([[0.0], hits / lesions]),
            "fps_per_slice": np.concatenate([[0.0], (last_of_equal + 1 - hits) / slices]),
        }
    )


def operating_point(curve: pd.DataFrame, fps_per_slice: float) -> Operating:
    """The lowest confidence threshold that makes no more than `fps_per_slice` false positives per slice.

    A threshold that anyone can set: nothing is interpolated between two points of the curve.
    """
    rates = curve["fps_per_slice"].to_numpy()
    last = int(np.searchsorted(rates, fps_per_slice, side="right")) - 1
    point = curve.iloc[last]
    ends_before = last == len(rates) - 1 and rates[last] < fps_per_slice
    return Operating(float(point["sensitivity"]), float(rates[last]), float(point["confidence"]), bool(ends_before))
