"""`metrics.json`: the form in which `summary.summarise` gives all figures of a detector, and the file's reader.

Typed dictionaries: objectives, tables and `metsweep score --json` name a figure by its key.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NotRequired

from typing_extensions import TypedDict

from trainers.data.slice_set import Split
from trainers.evaluation.metrics import ClassCounts, Figures

if TYPE_CHECKING:
    from trainers.evaluation.chance import Chance
    from trainers.evaluation.lesion_level import LesionFigures

METRICS_FILE = "metrics.json"
Bounds = list[float]
"""Low and high end of an interval."""


class RateIntervals(TypedDict):
    """Of both rates, over patients."""

    level: float
    sensitivity: Bounds
    fps_per_slice: Bounds


class CurvePoint(TypedDict):
    """The FROC curve at some false positives per slice."""

    sensitivity: float
    interval: Bounds
    confidence: float | None
    """Threshold; None where no detection may pass."""
    fps_per_slice: float
    ends_before: bool


class ClassFigures(ClassCounts):
    """Lesions of one diameter class, with the sensitivity's interval."""

    interval: Bounds


class CalibrationFigures(TypedDict):
    """Confidence beside the share of detections that hit."""

    error: float | None
    bins: Sequence[Mapping[Hashable, float]]


class GainFigures(TypedDict):
    """Over another detector; `interval` and `p` are None where they are not defined."""

    difference: float
    interval: Bounds | None
    p: float | None
    patients: int


class Summary(Figures):
    """Every figure at one IoU threshold; None or empty where the truth does not hold what a figure needs."""

    patients: int
    patients_with_lesions: int
    intervals: RateIntervals
    at_fps_per_slice: dict[str, CurvePoint]
    by_diameter: dict[str, ClassFigures]
    by_scanner: dict[str, Figures]
    lesion_level: LesionFigures | None
    chance: Chance | None
    calibration: CalibrationFigures | None
    gain: NotRequired[GainFigures]
    """In sensitivity, over the detector that `metsweep score` compares with."""
    gain_at_equal_fps: NotRequired[GainFigures]


Metrics = dict[Split, dict[str, Summary]]
"""Split -> IoU threshold (`iou50`...) -> figures."""


def rate(figures: Summary, name: str) -> float:
    """One of `measures.TABLE1`, by its name."""
    rates: Mapping[str, Any] = figures
    return rates[name]


def read_metrics(text: str) -> Metrics:
    """The figures in a `metrics.json` that `evaluate` wrote."""
    return json.loads(text)
