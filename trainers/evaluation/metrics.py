"""Sensitivity and false positives: of a split, by patient, by scanner and by lesion diameter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from typing_extensions import TypedDict

from trainers.evaluation.outcome import Outcome

COUNTS = ("true_positives", "false_positives", "lesions", "slices")
DIAMETERS = {"<5": (0.0, 5.0), "5-10": (5.0, 10.0), "10-20": (10.0, 20.0), ">=20": (20.0, np.inf)}
"""Classes of lesion diameter in mm; the upper bound is exclusive."""


class Figures(TypedDict):
    """One cell pair of the paper's Table 1 with the counts behind it."""

    sensitivity: float
    fps_per_slice: float
    true_positives: int
    false_positives: int
    lesions: int
    slices: int


class ClassCounts(TypedDict):
    """Lesions of one diameter class."""

    sensitivity: float
    true_positives: int
    lesions: int


def counts_by(outcome: Outcome, column: str = "patient_id") -> pd.DataFrame:
    """Counts of every patient (or of every value of another column of the slices).

    Returns:
        Index: the values in order; columns COUNTS (int64). Slices without lesions or detections count.
    """
    slices = len(outcome.truth.slices)
    where = outcome.detections["slice"].to_numpy(dtype=np.int64)
    counts = {
        "true_positives": np.bincount(where[outcome.hit], minlength=slices),
        "false_positives": np.bincount(where[~outcome.hit], minlength=slices),
        "lesions": np.bincount(outcome.truth.lesions["slice"], minlength=slices),
        "slices": np.ones(slices, dtype=np.int64),
    }
    return pd.DataFrame(counts).groupby(outcome.truth.slices[column].to_numpy(dtype=str)).sum()


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


def diameter_class(diameter_mm: np.ndarray) -> np.ndarray:
    """The key of DIAMETERS that each diameter belongs to, `unknown` for NaN; str."""
    classes = np.full(len(diameter_mm), "unknown", dtype=object)
    for name, (low, high) in DIAMETERS.items():
        classes[(diameter_mm >= low) & (diameter_mm < high)] = name
    return classes


def sensitivity_by_diameter(outcome: Outcome) -> dict[str, ClassCounts]:
    """Of each diameter class that has lesions: `sensitivity`, `true_positives` and `lesions` (boxes on slices).

    False positives have no lesion and so no diameter. Empty if no diameter is known.
    """
    classes = diameter_class(outcome.truth.lesions["diameter_mm"].to_numpy(dtype=np.float64))
    if (classes == "unknown").all():
        return {}
    return sensitivity_by_class(outcome.found, classes, (*DIAMETERS, "unknown"))


def sensitivity_by_class(found: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> dict[str, ClassCounts]:
    """Those of each class in `names` that has lesions; of n lesions whether each is `found`, and its class (str)."""
    return {
        name: {
            "sensitivity": float(found[classes == name].mean()),
            "true_positives": int(found[classes == name].sum()),
            "lesions": int((classes == name).sum()),
        }
        for name in names
        if (classes == name).any()
    }
