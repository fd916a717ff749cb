"""The figure of a training run."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from trainers.detector.history import SENSITIVITY


def loss_curves(history: Sequence[dict[str, float]], selected: int, iou: float) -> Figure:
    """Training losses and validation sensitivity (at this IoU) against optimiser steps, the `selected` step marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in sorted({key for line in history for key in line if key.startswith("detector/")}):
        points = [(line["step"], line[name]) for line in history if name in line]
        axes.plot(*zip(*points, strict=True), label=name.removeprefix("detector/").replace("_", " "))
    axes.set(xlabel="optimiser steps", ylabel="training loss")
    axes.axvline(selected, color="grey", linestyle=":", label="selected step")
    right = axes.twinx()
    points = [(line["step"], line[SENSITIVITY]) for line in history if SENSITIVITY in line]
    right.plot(*zip(*points, strict=True), "k.-", label="validation sensitivity")
    right.set(ylabel=f"validation sensitivity (IoU {iou:g})", ylim=(0, 1))
    handles = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, fontsize=8)
    return figure
