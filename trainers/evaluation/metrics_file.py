"""`metrics.json`: the form in which `summary.summarise` gives all figures of a detector, and the file's reader.

Typed dictionaries: objectives, tables and `metsweep score --json` name a figure by its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from trainers.data.slice_set import Split
from trainers.documents import parsed
from trainers.evaluation.metrics import ClassCounts, Figures
from trainers.exceptions import ScoringError

METRICS_FILE = "metrics.json"
Bounds = list[float]
"""Low and high end of an interval."""


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
    bins: list[dict[str, float]]


class Chance(TypedDict):
    """Sensitivity of the same detections on shuffled boxes."""

    sensitivity: float
    """Mean over the shuffles."""
    interval: Bounds
    """Of single shuffles."""
    shuffles: int


class LesionFigures(TypedDict):
    """Sensitivity over 3-D lesions and false positives over volumes."""

    sensitivity: float
    fps_per_volume: float
    true_positives: int
    false_positives: int
    lesions: int
    volumes: int
    by_diameter: dict[str, ClassCounts]
    """By diameter class; empty if no diameter is known."""


class GainFigures(TypedDict):
    """Over another detector; `interval` and `p` are None where they are not defined."""

    difference: float
    interval: Bounds | None
    p: float | None
    patients: int


@with_config(ConfigDict(extra="allow"))
class Summary(Figures):
    """Every figure at one IoU threshold; None or empty where the truth does not hold what a figure needs."""

    patients: int
    patients_with_lesions: int
    intervals: Mapping[str, Any]
    """Over patients: `level`, and by its name the `Bounds` of each figure of Table 1."""
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


def read_metrics(text: str, where: Path | str) -> Metrics:
    """The figures in a `metrics.json` that `evaluate` wrote; ScoringError, which names its place, if it is damaged."""
    return parsed(text, Metrics, where, ScoringError, "Evaluate the detector again.")
