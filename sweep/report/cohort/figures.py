"""Pictures of a cohort: its lesions, its voxels and its intensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweep.report.cohort.text import shortened
from trainers.data.quality.cohort_facts import CohortFacts
from trainers.data.quality.volume_facts import LEVELS, VolumeFacts
from trainers.data.slice_set import Split
from trainers.palette import COLOURS, INK, PAGE, colour, hatch, marker

MOST_SCANNERS = 12
"""That a picture shows, those with most volumes."""
DIAMETERS_MM = (1, 2, 5, 10, 20, 50, 100)
"""Ends and ticks of the axis; what lies beyond is counted at the ends."""
FEWEST_BARS, MOST_BARS = 8, 30
LOGARITHMIC_FROM = 20.0
"""Intensities of scanners whose medians differ by this factor are drawn on a logarithmic axis."""
HATCHES = (hatch(0), hatch(1), hatch(3))
"""Of the splits; dots would make a picture ten times as large."""
PLANES: Mapping[str, tuple[str, str, str, str]] = {
    "from above": ("x", "y", "right - left", "posterior - anterior"),
    "from the front": ("x", "z", "right - left", "inferior - superior"),
    "from the patient's right": ("y", "z", "posterior - anterior", "inferior - superior"),
}
"""Plane -> axes of a lesion's place, and what they mean."""


def cohort_figures(facts: CohortFacts) -> dict[str, Figure]:
    """Name of a section -> its picture; without those that have nothing to show."""
    figures: dict[str, Figure] = {"voxels": _voxels(facts), "intensity": _intensity(facts)}
    if any(len(of.lesions) for of in facts.volumes):
        figures |= {"lesions": _lesions(facts), "places": _places(facts)}
    return figures


def scanners(volumes: Sequence[VolumeFacts]) -> dict[str, list[VolumeFacts]]:
    """Scanner -> its volumes; those with most come first."""
    counted = Counter(of.subject.scanner for of in volumes)
    return {name: [of for of in volumes if of.subject.scanner == name] for name, _ in counted.most_common()}


def _by_split(facts: CohortFacts, values: Callable[[VolumeFacts], Sequence[float]]) -> dict[str, np.ndarray]:
    return {
        split: np.array([value for of in facts.volumes if of.subject.split == split for value in values(of)])
        for split in get_args(Split)
    }


def _histogram(axes: Axes, of_splits: Mapping[str, np.ndarray], bins: np.ndarray) -> None:
    """Bars of the splits on each other."""
    below = np.zeros(len(bins) - 1)
    for number, (split, values) in enumerate(of_splits.items()):
        counts, _ = np.histogram(np.clip(values, bins[0], bins[-1]), bins)
        some = np.flatnonzero(counts)
        axes.bar(
            bins[some], counts[some], np.diff(bins)[some], below[some], align="edge", label=split,
            color=colour(number), ec=PAGE, lw=0.6, hatch=HATCHES[number],
        )  # fmt: skip
        below += counts
    axes.set_xlim(bins[0], bins[-1])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _panels(number: int, height: float, wide: float = 3.6) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(wide * number, height), layout="constrained")
    return figure, list(figure.subplots(1, number, squeeze=False)[0])


def _lesions(facts: CohortFacts) -> Figure:
    figure, (sizes, counts) = _panels(2, 2.9)
    diameters = _by_split(facts, lambda of: of.lesions["diameter_mm"].to_list())
    _histogram(sizes, diameters, np.geomspace(DIAMETERS_MM[0], DIAMETERS_MM[-1], 31))
    sizes.set(xlabel="diameter of a lesion (mm)", ylabel="lesions", xscale="log")
    sizes.set_xticks(DIAMETERS_MM, list(map(str, DIAMETERS_MM)))
    sizes.minorticks_off()
    numbers = _by_split(facts, lambda of: [len(of.lesions)] if of.subject.kind == "tumour" else [])
    most = int(max(values.max(initial=FEWEST_BARS) for values in numbers.values()))
    wide = -(-most // MOST_BARS)
    _histogram(counts, numbers, np.arange(0.5, most + wide, wide))
    counts.xaxis.set_major_locator(MaxNLocator(integer=True))
    counts.set(xlabel="lesions of a volume", ylabel="volumes")
    _legend(figure, counts)
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    """Below the panels."""
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False, ncols=3, loc="outside lower center")


def _places(facts: CohortFacts) -> Figure:
    figure, panels = _panels(len(PLANES), 3.4)
    for axes, (title, (across, up, x_name, y_name)) in zip(panels, PLANES.items(), strict=True):
        for number, split in enumerate(get_args(Split)):
            lesions = [of.lesions for of in facts.volumes if of.subject.split == split and len(of.lesions)]
            for of in lesions:
                axes.plot(of[across], of[up], marker(number), color=colour(number), ms=3, alpha=0.5, mew=0)
            axes.plot([], [], marker(number), color=colour(number), ms=5, mew=0, label=split)
        axes.set(title=title, xlabel=x_name, ylabel=y_name, ylim=(0, 1), xticks=(), yticks=(), aspect="equal")
        axes.set_xlim((1, 0) if across == "x" else (0, 1))
    _legend(figure, panels[0])
    return figure


def _voxels(facts: CohortFacts) -> Figure:
    figure, (sides, distances) = _panels(2, 2.6)
    for axes, name, of_volume in (
        (sides, "side of a voxel in its slice (mm)", lambda of: [max(of.spacing[:2])]),
        (distances, "distance of slices (mm)", lambda of: [of.spacing[2]]),
    ):
        values = _by_split(facts, of_volume)
        every = np.concatenate(list(values.values()))
        _histogram(axes, values, np.linspace(every.min() * 0.8, every.max() * 1.2, MOST_BARS + 1))
        axes.set(xlabel=name, ylabel="volumes")
    _legend(figure, distances)
    return figure


def _intensity(facts: CohortFacts) -> Figure:
    """By scanner: a box of what is typical, and each volume's median."""
    groups = dict(list(scanners(facts.volumes).items())[:MOST_SCANNERS])
    figure, panels = _panels(1 if facts.prepared is None else 2, 1.2 + 0.38 * len(groups), wide=5.4)
    before = {name: [of.intensity for of in volumes] for name, volumes in groups.items()}
    _levels(panels[0], before, "before: the file's units, in the head")
    if facts.prepared is not None:
        of_volume = facts.prepared.intensity
        after = {name: [of_volume(of.subject.volume) for of in volumes] for name, volumes in groups.items()}
        known = {name: [levels for levels in of if levels is not None] for name, of in after.items()}
        _levels(panels[1], known, "after: grey levels of the slices, in the brain")
        panels[1].set(xlim=(0, 255), yticklabels=())
    return figure


def _levels(axes: Axes, groups: Mapping[str, Sequence[np.ndarray]], title: str) -> None:
    for row, levels in enumerate(groups.values()):
        if not levels:
            continue
        low, quarter, middle, three_quarters, high = np.median(levels, axis=0)
        axes.plot([low, high], [row, row], color=INK, lw=1)
        axes.barh(row, three_quarters - quarter, 0.5, quarter, color=COLOURS[0], alpha=0.45)
        axes.plot([middle, middle], [row - 0.25, row + 0.25], color=INK, lw=2)
        medians = [of_volume[LEVELS.index(50)] for of_volume in levels]
        axes.plot(medians, np.full(len(medians), row + 0.34), "|", color=COLOURS[1], ms=4)
    names = [f"{shortened(name, 30)} ({len(of)})" for name, of in groups.items()]
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.set_xlabel(title, fontsize=8)
    middles = [np.median(of, axis=0) for of in groups.values() if len(of)]
    lowest = min((of[0] for of in middles), default=0.0)
    if lowest > 0 and max(of[2] for of in middles) > LOGARITHMIC_FROM * min(of[2] for of in middles):
        axes.set_xscale("log")
