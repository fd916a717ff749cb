"""Pictures of the realism figures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from trainers.evaluation.figures import pairs_of_axes, show_slice
from trainers.evaluation.realism.box_fidelity import BoxFidelity, Found
from trainers.evaluation.realism.memorisation import RealSlices
from trainers.palette import COLOURS, line

REAL_COLOUR = "0.35"
PAIRS_SHOWN = 12
PAIRS_IN_ROW = 4


def embedding_figure(panels: Mapping[str, tuple[Mapping[str, np.ndarray], str]]) -> Figure:
    """Scatter plots of t-SNEs, one per panel.

    Args:
        panels: title -> (group -> places n x 2, what was done); the first group of each is the real one.
    """
    figure = Figure(figsize=(5.2 * len(panels), 5.2), layout="constrained")
    for axes, (title, (groups, done)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        colours = (REAL_COLOUR, *(COLOURS[i % len(COLOURS)] for i in range(len(groups) - 1)))
        for (name, places), colour in zip(groups.items(), colours, strict=True):
            axes.scatter(*places.T, s=9, alpha=0.65, lw=0, color=colour, label=name)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{title}\n{done}", fontsize=7)
        axes.legend(fontsize=8, markerscale=2)
    return figure


def nearest_figure(
    synthetic: np.ndarray, real: np.ndarray, distances: np.ndarray, patients: np.ndarray, close_distance: float
) -> Figure:
    """Synthetic slices beside their nearest training slice, the nearest pairs first.

    Args:
        synthetic, real: N x S x S uint8, pairs by rising distance.
        distances: N.
        patients: of the training slices.
        close_distance: what is called close, for the title.
    """
    shown = min(PAIRS_SHOWN, len(synthetic))
    figure, pairs = pairs_of_axes(shown, PAIRS_IN_ROW, (3.3, 1.95))
    for i, (left, right) in enumerate(pairs):
        show_slice(left, synthetic[i])
        show_slice(right, real[i])
        left.set_title(f"synthetic, {distances[i]:.3g}", fontsize=7)
        right.set_title(f"training, {patients[i]}", fontsize=7)
    figure.suptitle(
        f"Nearest pairs and their distances; real slices of different patients come closer than {close_distance:.3g} "
        "for one slice in a hundred",
        fontsize=9,
    )
    return figure


def distances_figure(real: RealSlices, distances: np.ndarray, close_distance: float) -> Figure:
    """Distributions of nearest distances: synthetic slices to either split, and real slices to other patients.

    Args:
        real: slices of both splits; of the split with more patients as many are shown as the other has.
        distances: M x N, of each synthetic slice to each real one.
        close_distance: drawn as a line.
    """
    held_out = real.patient_held_out
    to_patients = real.by_patient(distances)
    splits = [np.flatnonzero(held_out == split) for split in (False, True)]
    equally = min(map(len, splits))
    training, others = (
        to_patients[:, split[np.linspace(0, len(split) - 1, equally).round().astype(int)]].min(axis=1)
        for split in splits
    )
    curves = {
        f"synthetic to {equally} training patients": (training, COLOURS[0]),
        f"synthetic to {equally} held-out patients": (others, COLOURS[1]),
        "real to all other patients": (real.to_other_patients.min(axis=1), REAL_COLOUR),
    }
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, (label, (values, colour)) in enumerate(curves.items()):
        shares = np.arange(1, len(values) + 1) / len(values)
        axes.step(np.sort(values), shares, label=label, color=colour, ls=line(number))
    axes.axvline(close_distance, color="0.6", ls=":", label="close: 1st percentile of the grey curve")
    axes.set(xlabel="distance to the nearest slice, mirrored and moved to fit")
    axes.set(ylabel="share of slices", xlim=(0, None), ylim=(0, 1))
    axes.legend(fontsize=7)
    return figure


def box_figure(fidelity: Mapping[str, BoxFidelity], labels: Mapping[str, str]) -> Figure:
    """Bars of box fidelity with their intervals, one group per IoU threshold.

    Args:
        labels: key of `fidelity` -> what the axis says.
    """
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    kinds = {
        "conditioned": ("conditioning boxes", COLOURS[0]),
        "random": ("random places", COLOURS[1]),
        "real": ("lesions, held-out real slices", REAL_COLOUR),
    }
    for i, (kind, (label, colour)) in enumerate(kinds.items()):
        shares: list[Found] = [getattr(at_iou, kind) for at_iou in fidelity.values()]
        at = np.arange(len(shares)) + 0.27 * (i - 1)
        recall = np.array([boxes.recall for boxes in shares])
        reach = np.abs(np.array([boxes.interval for boxes in shares]).T - recall)
        axes.bar(at, recall, 0.25, yerr=reach, capsize=3, label=label, color=colour, alpha=0.85)
    axes.set_xticks(range(len(fidelity)), [labels[name] for name in fidelity])
    axes.set(ylabel="share found by the real-only detector", ylim=(0, 1))
    axes.legend(fontsize=7)
    return figure
