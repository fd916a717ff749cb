"""Pictures of a GAN: contact sheets of slices with their boxes, and loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

COLUMNS_INCHES = 1.5
BOX_COLOUR = "#ffb000"


def contact_sheet(path: Path, rows: Mapping[str, np.ndarray], boxes: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write a PNG with one named row of slices each.

    Args:
        path: the PNG.
        rows: name -> N x H x W uint8.
        boxes: name -> for each of its slices n x 4 (x0, y0, x1, y1), pixels, drawn; rows that it does not name show
            none, as an outline would hide a small lesion.
    """
    columns = max(len(images) for images in rows.values())
    figure = Figure(figsize=(COLUMNS_INCHES * columns + 0.4, COLUMNS_INCHES * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for axis in line:
            axis.set(xticks=[], yticks=[], frame_on=False)
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        for axis, found in zip(line, boxes.get(name, ()), strict=False):
            for x0, y0, x1, y1 in found:
                corner = (x0 - 0.5, y0 - 0.5)
                axis.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=BOX_COLOUR, linewidth=0.8))
    figure.savefig(path, dpi=110)


def loss_curves(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write a PNG of the losses over the images shown; vertical lines mark where a resolution begins.

    Args:
        path: the PNG.
        history: reports as in `TrainingState.history`.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    images = [report["images"] / 1000 for report in history]
    for key, label in (
        ("gan/d_loss", "discriminator"),
        ("gan/g_loss", "generator"),
        ("gan/distance", "estimated Wasserstein distance"),
    ):
        axis.plot(images, [report[key] for report in history], label=label)
    for before, after in pairwise(history):
        if before["gan/resolution"] != after["gan/resolution"]:
            axis.axvline(after["images"] / 1000, color="0.8", zorder=0)
            axis.annotate(
                f"{after['gan/resolution']:.0f} px",
                (after["images"] / 1000, 0.97),
                fontsize="small",
                xycoords=("data", "axes fraction"),
                color="0.4",
                ha="left",
                va="top",
            )
    axis.set(xlabel="thousands of images shown", ylabel="loss")
    axis.legend(frameon=False, loc="lower left")
    figure.savefig(path, dpi=110)
