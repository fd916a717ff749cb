"""The figures of Table 1: every table, file, run and version that shows them loops over `TABLE1`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from trainers.evaluation.arms import Arm, Estimate


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure of an arm at one IoU threshold, at the confidence that the study evaluates at."""

    name: str
    """Key in `metrics.json`, CSV files and MLflow."""
    title: str
    """Heading of its columns."""
    short: str
    """Heading on the console, which has less room."""
    meaning: str
    """What `short` stands for."""
    digits: int
    """Decimal places."""
    better: Literal["higher", "lower"]
    estimate: Callable[[Arm], Estimate]
    counts: tuple[str, str]
    """Columns of `metrics.counts_by` whose ratio it is."""


SENSITIVITY = Measure(
    name="sensitivity",
    title="sensitivity",
    short="sens.",
    meaning="sensitivity",
    digits=3,
    better="higher",
    estimate=lambda arm: arm.sensitivity,
    counts=("true_positives", "lesions"),
)
FPS = Measure(
    name="fps_per_slice",
    title="FPs/slice",
    short="FPs",
    meaning="false positives per slice",
    digits=2,
    better="lower",
    estimate=lambda arm: arm.fps_per_slice,
    counts=("false_positives", "slices"),
)
TABLE1 = (SENSITIVITY, FPS)
"""In the order of the columns. Evaluations made before a figure was added lack it: raise the version of
the stage `evaluate`."""
