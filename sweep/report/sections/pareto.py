"""Arms and drawn cells that no other dominates in sensitivity and false positives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sweep.report.evidence import Evidence
from sweep.report.results import Results, Row
from sweep.report.section import Line, Section, Value, measured_texts, measured_values
from trainers.data.slice_set import Split
from trainers.evaluation.arms import Arm, Estimate
from trainers.evaluation.measures import FPS, SENSITIVITY, TABLE1
from trainers.evaluation.outcome import name_of
from trainers.palette import FAINT, INK, PAGE, colour, marker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS: tuple[Split, ...] = ("validation", "test")
MOST_NAMED = 12
"""Rows that a picture names; of more, the front's alone."""


def pareto_section(results: Results, evidence: Evidence) -> Section | None:
    """The front on the validation split, with the same rows' figures on the test split; None for a single row."""
    if len(results.measured) < 2:
        return None
    iou = results.plan.study.evaluation.ious[0]
    kept = front(results.measured, name_of(iou))
    places: dict[Split, list[Arm]] = {split: [arm_of(row, split, iou, evidence) for row in kept] for split in SPLITS}
    lines = []
    for i, row in enumerate(kept):
        cells = [row.name]
        values: dict[str, Value] = {"arm": row.name}
        for split, arms in places.items():
            cells += measured_texts(arms[i])
            values |= {f"{split}_{name}": value for name, value in measured_values(arms[i]).items()}
        lines.append(Line([*cells, row.seeds], values, row.keys))
    return Section(
        "pareto",
        f"Pareto front of sensitivity against false positives, IoU {iou:g}",
        ("arm", *(f"{measure.title}, {split}" for split in SPLITS for measure in TABLE1), "seeds"),
        lines,
        f"{'Arms and drawn cells' if results.drawn else 'Arms'} (of {len(results.measured)}) that no other dominates "
        "in mean sensitivity and mean FPs on the validation split; test values are for comparison only. Where "
        f"intervals overlap, the order may be chance. {evidence.covers}",
        partial(draw, results.measured, kept, places, name_of(iou)),
    )


def front(rows: Sequence[Row], iou: str) -> list[Row]:
    """Rows that no other row dominates on the validation split, by rising false positives.

    One row dominates another if its mean sensitivity is no lower and its mean of false positives per slice no higher,
    and one of the two is better.
    """
    by_fps = sorted(
        rows,
        key=lambda row: (row.mean("validation", iou, "fps_per_slice"), -row.mean("validation", iou, "sensitivity")),
    )
    kept: list[Row] = []
    best = -1.0, -1.0
    for row in by_fps:
        sensitivity, fps = (row.mean("validation", iou, figure) for figure in ("sensitivity", "fps_per_slice"))
        if sensitivity > best[0] or (sensitivity, fps) == best:
            kept.append(row)
            best = sensitivity, fps
    return kept


def arm_of(row: Row, split: Split, iou: float, evidence: Evidence) -> Arm:
    """The outcomes of one row."""
    arm = evidence.by_iou[iou].get(row.arm) if split == "test" and row.number is None else None
    return arm or row.outcomes(split, evidence.config)[iou]


def draw(rows: Sequence[Row], kept: Sequence[Row], places: dict[Split, list[Arm]], iou: str) -> Figure:
    """All rows as points, a panel per split; those of the front are filled, with intervals, joined on validation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    panels = figure.subplots(1, len(places), sharey=True)
    others = [row for row in rows if row not in kept]
    for axes, (split, shown) in zip(panels, places.items(), strict=True):
        x, y = ([measure.estimate(arm) for arm in shown] for measure in (FPS, SENSITIVITY))
        for number, (row, fps, sensitivity) in enumerate(zip(kept, x, y, strict=True)):
            axes.errorbar(
                fps.mean,
                sensitivity.mean,
                xerr=_reach(fps),
                yerr=_reach(sensitivity),
                fmt=marker(number),
                color=colour(number),
                ms=7,
                elinewidth=0.8,
                label=row.name,
            )
        if split == "validation":
            means = [[estimate.mean for estimate in estimates] for estimates in (x, y)]
            axes.plot(*means, color=INK, lw=0.8, zorder=0, label="front of the validation split")
        places_of_others = [_place(row, split, iou) for row in others]
        if len(rows) <= MOST_NAMED:
            for number, (row, place) in enumerate(zip(others, places_of_others, strict=True), len(kept)):
                axes.plot(*place, marker(number), color=colour(number), mfc=PAGE, label=row.name)
        else:
            axes.plot(*zip(*places_of_others, strict=True), "o", color=FAINT, ms=4, label=f"{len(others)} others")
        axes.set(xlabel="false positives per slice", title=f"{split} split", xlim=(0, None))
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="sensitivity")
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside right upper")
    return figure


def _place(row: Row, split: Split, iou: str) -> tuple[float, float]:
    """Mean false positives per slice, and mean sensitivity."""
    return row.mean(split, iou, FPS.name), row.mean(split, iou, SENSITIVITY.name)


def _reach(estimate: Estimate) -> list[list[float]]:
    """Distances from the mean down and up to its interval."""
    return [[estimate.mean - estimate.interval.low], [estimate.interval.high - estimate.mean]]
