"""Pictures of an inpainter: windows with the lesions that it draws, and its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trainers.gan.figures import contact_sheet
from trainers.inpainting.windows import Windows
from trainers.palette import colour


def draw_examples(path: Path, windows: Windows, moments: Sequence[np.ndarray]) -> None:
    """Write a PNG: real windows, these without what is redrawn, and what was drawn at several moments of training.

    Args:
        moments: each N x W x W uint8.
    """
    rows = {"real": windows.images, "known": np.where(windows.weights > 0, 128, windows.images).astype(np.uint8)}
    drawn = {f"{(number + 1) / len(moments):.0%}": images for number, images in enumerate(moments)}
    contact_sheet(path, rows | drawn, {})


def draw_loss(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write a PNG of the losses in `TrainingState.history`."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    images = [report["images"] / 1000 for report in history]
    axis.plot(images, [report["inpainter/loss"] for report in history], color=colour(1))
    axis.set(xlabel="thousands of windows shown", ylabel="loss", yscale="log")
    figure.savefig(path, dpi=110)
