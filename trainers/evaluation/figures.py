"""Figures of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

TRUTH, HIT, MISS = "#00c853", "#ffd600", "#ff1744"


def froc_figure(curves: Mapping[str, pd.DataFrame], most_fps: float = 8.0) -> Figure:
    """FROC curves by label, each as `froc_points` gives it; false positives per slice up to `most_fps`."""
    figure = Figure(figsize=(5.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for label, curve in curves.items():
        axes.step(curve["fps_per_slice"], curve["sensitivity"], where="post", label=label)
    axes.set(xlabel="false positives per slice", ylabel="sensitivity", xlim=(0, most_fps), ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def detections_figure(
    images: np.ndarray,
    truth: Sequence[np.ndarray],
    detections: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    titles: Sequence[str],
) -> Figure:
    """Pairs of a slice with its lesions and the same slice with its detections.

    Args:
        images: n x S x S uint8.
        truth: lesions of each slice, m x 4 pixels.
        detections: of each slice: boxes k x 4, confidences k, hits k (bool).
        titles: one a slice.
    """
    pairs_in_row = 3
    rows = -(-len(images) // pairs_in_row)
    figure = Figure(figsize=(4 * pairs_in_row, 2.3 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, 2 * pairs_in_row, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for i, image in enumerate(images):
        left, right = grid[i // pairs_in_row, 2 * (i % pairs_in_row) :][:2]
        for axes in (left, right):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        left.set_title(titles[i], fontsize=7)
        for box in truth[i]:
            _outline(left, box, TRUTH)
        for box, confidence, hit in zip(*detections[i], strict=True):
            _outline(right, box, HIT if hit else MISS)
            right.text(box[0], box[1] - 1, f"{confidence:.2f}", color=HIT if hit else MISS, fontsize=5)
    figure.suptitle("truth (green) beside detections: hits yellow, false positives red", fontsize=9)
    return figure


def _outline(axes: Axes, box: np.ndarray, colour: str) -> None:
    corner = (float(box[0]) - 0.5, float(box[1]) - 0.5)
    axes.add_patch(Rectangle(corner, float(box[2] - box[0]), float(box[3] - box[1]), fill=False, ec=colour, lw=1))
