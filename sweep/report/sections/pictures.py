"""Pictures that belong to no table: the forest plot of gains, slices with each arm's detections, confidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sweep.report.evidence import Evidence
from sweep.report.section import Section
from sweep.report.verdict import ALPHA
from trainers.data.slice_set import open_slice_set
from trainers.evaluation.calibration import calibration
from trainers.evaluation.comparison import Comparison
from trainers.evaluation.outcome import Outcome
from trainers.palette import COLOURS, INK, PAGE
from trainers.variants import REAL_ONLY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[[Mapping[str, Sequence[Outcome]]], Figure | None]

BESIDE = 0.17
"""From the middle of an arm's row to each of its two gains."""


def forest_section(evidence: Evidence) -> Section | None:
    """The paired gains with their intervals; None without a gain."""
    if not any(evidence.gains.values()):
        return None
    return Section(
        "gains",
        f"Gain in test sensitivity over {REAL_ONLY}",
        (),
        (),
        f"Lines: 95% intervals over {evidence.over}. Filled: Holm-adjusted p below {ALPHA:g}. At equal FPs: "
        f"both detectors are thresholded to the FPs per slice of {REAL_ONLY}.",
        partial(_forest, evidence),
    )


def slices_section(evidence: Evidence) -> Section | None:
    """Slices with the detections of every arm that shares a seed with the real-only arm; None without such an arm."""
    if evidence.baseline is None or len(evidence.arms) < 2:
        return None
    return Section("gained", "Test slices on which the arms differ most", (), (), "", partial(_slices, evidence))


def picture_sections(evidence: Evidence) -> Iterator[Section]:
    """Lesions missed by diameter, confidence and calibration, at the loosest IoU threshold."""
    from trainers.evaluation.figures import calibration_figure, confidence_figure, missed_figure

    loosest = min(evidence.by_iou)
    shown = {name: list(arm.shown.values()) for name, arm in evidence.by_iou[loosest].items()}
    truth = next(iter(shown.values()))[0].truth
    calibrated = any(table is not None and len(table) for table in map(calibration, shown.values()))
    drawn: Mapping[str, tuple[str, Draw, bool]] = {
        "missed_by_diameter": ("Lesions missed", missed_figure, bool(truth.lesions["diameter_mm"].notna().any())),
        "confidence": ("Confidence of hits and of false positives", confidence_figure, True),
        "calibration": ("Calibration of confidence", calibration_figure, calibrated),
    }
    for name, (title, draw, possible) in drawn.items():
        if possible:
            yield Section(name, f"{title}, IoU {loosest:g}", (), (), "", partial(_drawn, draw, shown))


def _drawn(draw: Draw, shown: Mapping[str, Sequence[Outcome]]) -> Figure:
    figure = draw(shown)
    assert figure is not None, "there is something to draw"
    return figure


def _forest(evidence: Evidence) -> Figure:
    """A panel per IoU threshold, a row per arm: the gain, and below it the gain at equal false positives."""
    from matplotlib.figure import Figure

    arms = list(dict.fromkeys(arm for gains in evidence.gains.values() for arm in gains))
    figure = Figure(figsize=(9.6, 0.42 * len(arms) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(evidence.gains), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (iou, gains) in zip(panels, evidence.gains.items(), strict=True):
        for row, gain in ((arms.index(arm), gain) for arm, gain in gains.items()):
            _whisker(axes, row - BESIDE, gain.plain, gain.p, INK, "o")
            _whisker(axes, row + BESIDE, gain.equal, gain.equal_p, COLOURS[0], "D")
        axes.axvline(0, color=INK, lw=0.8, ls=":")
        axes.set(
            title=f"IoU {iou:g}", xlabel="harms \N{LEFTWARDS ARROW} gain in sensitivity \N{RIGHTWARDS ARROW} helps"
        )
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(arms)), arms)
    panels[0].set_ylim(len(arms) - 0.5, -0.5)
    kinds = {"gain": (INK, "o"), "gain at equal FPs per slice": (COLOURS[0], "D")}
    for label, (colour, marker) in kinds.items():
        panels[0].plot([], [], marker=marker, color=colour, ms=6, label=label)
    figure.legend(fontsize=8, frameon=False, ncols=2, loc="outside lower center")
    return figure


def _whisker(axes: Axes, height: float, gain: Comparison, p: float, colour: str, marker: str) -> None:
    """A difference with its interval, filled where it is not chance."""
    axes.plot(gain.interval, (height, height), color=colour, lw=1.5)
    axes.plot(gain.difference, height, marker, color=colour, ms=6, mfc=colour if p < ALPHA else PAGE)


def _slices(evidence: Evidence) -> Figure:
    """At the loosest IoU threshold, detectors of the first seed that each arm shares with the real-only arm."""
    from trainers.evaluation.figures import gained_figure

    arms = evidence.by_iou[min(evidence.by_iou)]
    base = arms[REAL_ONLY]
    first = {name: arm.shown[seeds[0]] for name, arm in arms.items() if (seeds := arm.common(base))}
    names = first[REAL_ONLY].truth.slices["slice_id"]
    images: dict[str, np.ndarray] = {}
    for made in evidence.slices:
        if not images.keys() >= set(names):  # a fold may lack training patients that another one tests
            slices = open_slice_set(made.path)
            images |= zip(slices.slices["slice_id"], slices.images, strict=True)
    return gained_figure([images[name] for name in names], {REAL_ONLY: first[REAL_ONLY], **first})
