"""The figure of a training run."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from trainers.detector.history import SENSITIVITY
from trainers.palette import colour, line


def loss_curves(history: Sequence[dict[str, float]], selected: int, iou: float) -> Figure:
    """Training losses and validation sensitivity (at this IoU) against optimiser steps, the `selected` step marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    names = sorted({key for report in history for key in report if key.startswith("detector/")})
    for number, name in enumerate(names, 1):
        points = [(report["step"], report[name]) for report in history if name in report]
        label = name.removeprefix("detector/").replace("_", " ")
        axes.plot(*zip(*points, strict=True), label=label, color=colour(number), ls=line(number))
    axes.set(xlabel="optimiser steps", ylabel="training loss")
    axes.axvline(selected, color="grey", linestyle=":", label="selected step")
    right = axes.twinx()
    points = [(report["step"], report[SENSITIVITY]) for report in history if SENSITIVITY in report]
    right.plot(*zip(*points, strict=True), "k.-", label="validation sensitivity")
    right.set(ylabel=f"validation sensitivity (IoU {iou:g})", ylim=(0, 1))
    handles = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, fontsize=8)
    return figure
