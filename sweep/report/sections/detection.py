"""Detection by arm: at given false positives, over 3D lesions, by chance, by diameter and by scanner."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sweep.report.evidence import Evidence
from sweep.report.section import (
    Line,
    Section,
    Value,
    decimal,
    estimate_text,
    interval_values,
    measured_texts,
    measured_values,
)
from trainers.evaluation.froc import FPS_PER_SLICE
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.outcome import name_of
from trainers.variants import REAL_ONLY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BANDS = (
    f"Shaded bands in the figure, of {REAL_ONLY} and of the arm that is best on the validation split: percentile "
    "bootstrap over patients for these trained detectors; with few patients narrower than the table's intervals, which "
    "use the jackknife and Student's t."
)


class _Figure(NamedTuple):
    title: str
    digits: int
    """Decimal places."""
    path: tuple[str, str]
    """Where `Summary` holds it."""


WHOLE_LESIONS = {
    "lesion_sensitivity": _Figure("3D lesion sensitivity", 3, ("lesion_level", "sensitivity")),
    "fps_per_volume": _Figure("FPs/volume", 2, ("lesion_level", "fps_per_volume")),
    "chance_sensitivity": _Figure("chance sensitivity", 3, ("chance", "sensitivity")),
    "calibration_error": _Figure("calibration error", 3, ("calibration", "error")),
}
"""Column of the CSV file -> figure."""


def detection_sections(evidence: Evidence) -> Iterator[Section]:
    """All these tables, each for every IoU threshold."""
    yield from _at_fps(evidence)
    yield from _whole_lesions(evidence)
    yield from _breakdown(evidence, "diameter", "mm")
    yield from _breakdown(evidence, "scanner")


def _at_fps(evidence: Evidence) -> Iterator[Section]:
    for iou, arms in evidence.by_iou.items():
        lines, short = [], []
        for name, arm in arms.items():
            points = arm.at_fps_per_slice
            values: dict[str, Value] = {"arm": name}
            for fps, estimate in points.items():
                values |= interval_values(f"sensitivity_at_{fps:g}_fps", estimate.mean, estimate.interval)
            cells = [name, *(estimate_text(points[fps]) for fps in FPS_PER_SLICE)]
            lines.append(Line(cells, values, evidence.keys[name]))
            if arm.most_fps_per_slice < FPS_PER_SLICE[-1]:
                short.append(f"{name} at {arm.most_fps_per_slice:.2f}")
        ended = f"Curves that end earlier, shown at their last point: {', '.join(short)}." if short else ""
        yield Section(
            f"froc_{name_of(iou)}",
            f"Sensitivity at given false positives per slice, IoU {iou:g}",
            ("arm", *(f"at {fps:g}" for fps in FPS_PER_SLICE)),
            lines,
            f"{evidence.covers} {BANDS} {ended}".strip(),
            partial(_froc, evidence, iou),
        )


def _froc(evidence: Evidence, iou: float) -> Figure:
    """The curves of all arms, with the bands of the real-only arm and of the arm that is best on validation."""
    from trainers.evaluation.figures import froc_figure

    outcomes = {name: list(arm.outcomes.values()) for name, arm in evidence.by_iou[iou].items()}
    banded = {REAL_ONLY, evidence.chosen} & outcomes.keys()
    return froc_figure(outcomes, evidence.config, f"IoU {iou:g}; ", [name for name in outcomes if name in banded])


def _whole_lesions(evidence: Evidence) -> Iterator[Section]:
    for iou, arms in evidence.by_iou.items():
        lines = []
        for name, arm in arms.items():
            means = {column: _mean(evidence, name, iou, *figure.path) for column, figure in WHOLE_LESIONS.items()}
            cells = [decimal(means[column], figure.digits) for column, figure in WHOLE_LESIONS.items()]
            values = {"arm": name, **measured_values(arm), **means}
            lines.append(Line([name, *measured_texts(arm), *cells], values, evidence.keys[name]))
        yield Section(
            f"whole_lesions_{name_of(iou)}",
            f"Slices, 3D lesions and chance, IoU {iou:g}",
            ("arm", *(measure.title for measure in TABLE1), *(figure.title for figure in WHOLE_LESIONS.values())),
            lines,
            _whole_note(evidence) if iou == tuple(evidence.by_iou)[-1] else "",
        )


def _whole_note(evidence: Evidence) -> str:
    """How the table was made, and which detectors detect nothing."""
    text = (
        f"{evidence.covers} A 3D lesion counts as found if any of its slices is hit; overlapping false "
        "positives on adjacent slices are merged. Chance: sensitivity of the same detections after shuffling the true "
        "boxes between slices."
    )
    arms = next(iter(evidence.by_iou.values()))
    silent = [f"{name} seed {seed}" for name, arm in arms.items() for seed in arm.silent]
    if silent:
        text += f" Detect nothing at confidence {evidence.config.confidence:g}: {', '.join(silent)}."
    return text


def _breakdown(evidence: Evidence, by: str, unit: str = "") -> Iterator[Section]:
    for iou in evidence.by_iou:
        groups = evidence.metrics[evidence.arms[0]][0][name_of(iou)][f"by_{by}"]
        if len(groups) < 2:
            continue
        lines = []
        for arm in evidence.arms:
            means = {group: _mean(evidence, arm, iou, f"by_{by}", group, "sensitivity") for group in groups}
            lines.append(Line([arm, *map(decimal, means.values())], {"arm": arm, **means}, evidence.keys[arm]))
        columns = [f"{group} {unit}".strip() + f" ({figures['lesions']})" for group, figures in groups.items()]
        yield Section(
            f"by_{by}_{name_of(iou)}",
            f"Sensitivity by {by}, IoU {iou:g}",
            ("arm", *columns),
            lines,
            "Parentheses: lesion boxes of the test split." if iou == tuple(evidence.by_iou)[-1] else "",
        )


def _mean(evidence: Evidence, arm: str, iou: float, *path: str) -> float:
    """A figure of the evaluations, mean over the seeds of an arm that have it; NaN if none has."""
    values = []
    for by_iou in evidence.metrics[arm]:
        value: Any = by_iou[name_of(iou)]
        for key in path:
            value = value[key] if value else None
        if value is not None:
            values.append(value)
    return statistics.fmean(values) if values else math.nan
