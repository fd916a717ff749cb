"""Arms and drawn cells that no other dominates in sensitivity and false positives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sweep.report.evidence import Evidence
from sweep.report.results import Results, Row
from sweep.report.section import Line, Section, Value, covers, measured_texts, measured_values
from trainers.data.slice_set import Split
from trainers.evaluation.arms import Arm, Estimate
from trainers.evaluation.measures import FPS, SENSITIVITY, TABLE1
from trainers.evaluation.outcome import name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS: tuple[Split, ...] = ("validation", "test")


def pareto_section(results: Results, evidence: Evidence) -> Section | None:
    """The front on the validation split, with the same rows' figures on the test split; None for a single row."""
    if len(results.complete) < 2:
        return None
    iou = results.plan.study.evaluation.ious[0]
    kept = front(results.complete, name_of(iou))
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
        f"{'Arms and drawn cells' if results.drawn else 'Arms'} (of {len(results.complete)}) that no other dominates "
        "in mean sensitivity and mean FPs on the validation split; test values are for comparison only. Where "
        f"intervals overlap, the order may be chance. {covers(evidence.seeds)}",
        partial(draw, results.complete, kept, places, name_of(iou)),
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
    """All rows as points, a panel per split; the front's as crosses with intervals, joined on the validation split."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    panels = figure.subplots(1, len(places), sharey=True)
    for axes, (split, shown) in zip(panels, places.items(), strict=True):
        means = [[row.mean(split, iou, figure) for row in rows] for figure in ("fps_per_slice", "sensitivity")]
        axes.plot(*means, "o", color="0.65", ms=4, label="arms and drawn cells")
        x, y = ([measure.estimate(arm) for arm in shown] for measure in (FPS, SENSITIVITY))
        points = [[estimate.mean for estimate in estimates] for estimates in (x, y)]
        axes.errorbar(
            *points,
            xerr=_reach(x),
            yerr=_reach(y),
            fmt="x-" if split == "validation" else "x",
            lw=1,
            color="C0",
            elinewidth=0.7,
            label="front of the validation split",
        )
        for row, point in zip(kept, zip(*points, strict=True), strict=True):
            axes.annotate(row.name, point, xytext=(4, 4), textcoords="offset points", fontsize=7)
        axes.set(xlabel="false positives per slice", title=f"{split} split", xlim=(0, None))
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="sensitivity")
    panels[0].legend(fontsize=7, loc="lower right")
    return figure


def _reach(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Distances from the means down and up to their intervals."""
    return [
        [estimate.mean - estimate.interval.low for estimate in estimates],
        [estimate.interval.high - estimate.mean for estimate in estimates],
    ]
