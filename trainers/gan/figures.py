"""Pictures of a GAN: contact sheets of slices with their boxes, and loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from trainers.palette import colour, line

SLICE_INCHES, LABEL_INCHES = 1.5, 0.3
GAP, CAPTION = 0.06, 0.14
"""Space between slices, and above those with a caption; shares of a slice's side."""
BOX_COLOUR = "#ffb000"


def contact_sheet(
    path: Path,
    rows: Mapping[str, np.ndarray],
    boxes: Mapping[str, Sequence[np.ndarray]],
    captions: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a PNG with one named row of slices each.

    Args:
        rows: name -> N x S x S uint8, the same S in all of them.
        boxes: name -> for each of its slices n x 4 (x0, y0, x1, y1), pixels, drawn; rows that it does not name show
            none, as an outline would hide a small lesion.
        captions: name -> what stands above each of its slices.
    """
    size = next(iter(rows.values())).shape[-1]
    columns = max(len(images) for images in rows.values())
    gap = round(GAP * size)
    above = round(CAPTION * size) if captions else gap
    sheet = np.full((len(rows) * (size + above), columns * (size + gap)), 255, dtype=np.uint8)
    inches = SLICE_INCHES / size
    width, height = sheet.shape[1] * inches + LABEL_INCHES, sheet.shape[0] * inches
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    # One picture of all slices: axes of their own would take most of the time.
    axis = figure.add_axes((LABEL_INCHES / width, 0, 1 - LABEL_INCHES / width, 1), frame_on=False)
    tops = [row * (size + above) + above for row in range(len(rows))]
    for top, (name, images) in zip(tops, rows.items(), strict=True):
        lefts = [column * (size + gap) for column in range(len(images))]
        for left, image in zip(lefts, images, strict=True):
            sheet[top : top + size, left : left + size] = image
        for left, corners in zip(lefts, boxes.get(name, ()), strict=False):
            for x0, y0, x1, y1 in corners:
                corner = (left + x0 - 0.5, top + y0 - 0.5)
                axis.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=BOX_COLOUR, linewidth=0.8))
        for left, caption in zip(lefts, (captions or {}).get(name, ()), strict=False):
            axis.text(left + size / 2, top - gap, caption, fontsize="x-small", ha="center")
    axis.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    axis.set_xticks([])
    axis.set_yticks([top + size / 2 for top in tops], list(rows), rotation=90, va="center")
    axis.tick_params(length=0)
    figure.savefig(path, dpi=110)


def loss_curves(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write a PNG of the losses in `TrainingState.history`; vertical lines mark where a resolution begins."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    images = [report["images"] / 1000 for report in history]
    curves = {
        "gan/d_loss": "discriminator",
        "gan/g_loss": "generator",
        "gan/distance": "score of real minus synthetic",
    }
    for number, (key, label) in enumerate(curves.items(), 1):
        axis.plot(images, [report[key] for report in history], label=label, color=colour(number), ls=line(number))
    for before, after in pairwise(history):
        if before["gan/resolution"] != after["gan/resolution"]:
            axis.axvline(after["images"] / 1000, color="0.8", zorder=0)
            label, place = f"{after['gan/resolution']:.0f} px", (after["images"] / 1000, 0.97)
            axis.text(*place, label, transform=axis.get_xaxis_transform(), fontsize="small", color="0.4", va="top")
    axis.set(xlabel="thousands of images shown", ylabel="loss")
    axis.legend(frameon=False, loc="best")
    figure.savefig(path, dpi=110)
