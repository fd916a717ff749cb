"""How the gain over the real-only arm depends on the synthetic count, variant by variant."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sweep.report.evidence import Evidence
from sweep.report.results import Results, Row
from sweep.report.section import Line, Section, interval_values, signed
from sweep.text import count_text
from trainers.evaluation.comparison import Comparison
from trainers.evaluation.outcome import name_of
from trainers.palette import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 8
"""Drawn cells of one variant that a smooth needs; fewer are listed themselves."""
MOST_FITTED = 200
"""Cells that length scale, size and noise of a smooth are fitted to: the time grows with their third power."""
PLACES = 200
"""Counts that the cells of a smooth are gathered at."""
SHOWN = 5
"""Counts of a smooth that the table shows."""


@dataclass(frozen=True)
class Smooth:
    """A Gaussian process through the gains of drawn cells."""

    counts: np.ndarray
    """Rising."""
    gain: np.ndarray
    """At each count."""
    reach: np.ndarray
    """Half the width of the 95% band of the mean curve."""


@dataclass(frozen=True)
class Response:
    """Gains over the real-only arm by synthetic count, at one IoU threshold."""

    enumerated: dict[str, dict[int, tuple[Row, Comparison]]]
    """Variant -> count -> arm and its paired gain."""
    drawn: dict[str, list[Row]]
    """Variant -> drawn cells with figures and synthetic slices."""
    points: dict[str, tuple[np.ndarray, np.ndarray]]
    """Variant -> counts and gains of its drawn cells."""
    smooths: dict[str, Smooth]
    """Variant -> smooth of its points, if they are FEWEST or more."""


def response_sections(results: Results, evidence: Evidence) -> list[Section]:
    """One per IoU threshold; none without figures of the real-only arm."""
    return [
        section
        for iou in evidence.by_iou
        if results.baseline is not None and (section := _section(results, evidence, iou, results.baseline))
    ]


def response_of(results: Results, evidence: Evidence, iou: float, base: Row) -> Response:
    """What the study shows of the synthetic count; `base` is the real-only arm."""
    enumerated: dict[str, dict[int, tuple[Row, Comparison]]] = {}
    for row in results.arms:
        trial = row.trials[0]
        if trial.train_patients is None and (gain := evidence.gains[iou].get(row.arm)):
            enumerated.setdefault(trial.variant, {})[trial.count] = row, gain.plain
    drawn: dict[str, list[Row]] = {}
    for row in results.drawn:
        if row.measured and row.trials[0].count:
            drawn.setdefault(row.trials[0].variant, []).append(row)
    points = {variant: _points(rows, iou, base) for variant, rows in drawn.items()}
    smooths = {variant: smooth(counts, gains) for variant, (counts, gains) in points.items() if len(counts) >= FEWEST}
    return Response(enumerated, drawn, points, smooths)


def _section(results: Results, evidence: Evidence, iou: float, base: Row) -> Section | None:
    response = response_of(results, evidence, iou, base)
    enumerated, points, smooths = response.enumerated, response.points, response.smooths
    lines = []
    for variant, counts in enumerated.items():
        for count, (row, gain) in sorted(counts.items()):
            bounds = interval_values("gain", gain.difference, gain.interval)
            values = {"variant": variant, "count": count, **bounds, "cells": 1, "smooth": 0}
            cells = [variant, f"{count:,}", signed(gain), count_text(gain.seeds, "detector seed")]
            lines.append(Line(cells, values, row.keys + base.keys))
    for variant, rows in response.drawn.items():
        if variant in smooths:
            lines += _smooth_lines(variant, smooths[variant], rows)
        else:
            lines += _cell_lines(variant, rows, points[variant][1], base)
    if not lines:
        return None
    return Section(
        f"count_response_{name_of(iou)}",
        f"Gain over none by synthetic count, IoU {iou:g}",
        ("variant", "synthetic slices", "gain", "from"),
        lines,
        _note(points, smooths, evidence.over) if iou == tuple(evidence.by_iou)[-1] else "",
        partial(_draw, enumerated, points, smooths, iou),
    )


def _points(rows: Sequence[Row], iou: float, base: Row) -> tuple[np.ndarray, np.ndarray]:
    """Counts of drawn cells and their gains in test sensitivity, both means over seeds."""
    at = name_of(iou)
    gains = [row.mean("test", at, "sensitivity") - base.mean("test", at, "sensitivity") for row in rows]
    return np.array([row.trials[0].count for row in rows], dtype=np.float64), np.array(gains)


def smooth(counts: np.ndarray, gains: np.ndarray) -> Smooth:
    """A Gaussian process (Rasmussen and Williams, 2006) of the gain over the count.

    The only assumption is that neighbouring counts gain alike: the paper's sensitivity falls and rises with the count,
    so a rising (isotonic) curve would be wrong. The band widens where few cells were drawn. Length scale, size of the
    gains and noise between cells maximise the likelihood, of every second, third... cell by count where there are more
    than MOST_FITTED; the curve is that of all cells.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    span = counts.max() - counts.min() or 1.0
    spread = float(gains.std()) or 1.0
    centre = float(gains.mean())
    # The mean of the curve is unknown too; single cells always scatter, however well a few of them lie on a curve.
    level = ConstantKernel(1.0, "fixed")
    trend = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(0.3, (0.2, 3.0))
    noise_between_cells = WhiteKernel(0.5, (1e-1, 1e1))
    model = GaussianProcessRegressor(level + trend + noise_between_cells, n_restarts_optimizer=3, random_state=0)
    with warnings.catch_warnings():
        # A length or size at its bound is what the bounds are for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = np.argsort(counts, kind="stable")[:: -(-len(counts) // MOST_FITTED)]
        model.fit(((counts - counts.min()) / span)[fitted, None], ((gains - centre) / spread)[fitted])
    kernel = cast(Any, model.kernel_)
    # Cells of one count are their mean with so much less noise. The noise is the scatter of single cells; without it in
    # the kernel the band is that of the mean.
    where, means, cells = _gathered((counts - counts.min()) / span, (gains - centre) / spread)
    noise: Any = math.exp(kernel.theta[-1]) / cells
    unfitted: Any = None
    curve = GaussianProcessRegressor(kernel.k1, alpha=noise, optimizer=unfitted)
    at = np.linspace(0, 1, 101)[:, None]
    curve.fit(where[:, None], means)
    mean, deviation = cast(tuple[np.ndarray, np.ndarray], curve.predict(at, return_std=True))
    return Smooth(counts.min() + span * at[:, 0], centre + spread * mean, 1.96 * spread * deviation)


def _gathered(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of x (0 to 1) and of y at PLACES of x at most, and the numbers of points there."""
    _, place, number = np.unique(np.rint(x * PLACES), return_inverse=True, return_counts=True)
    return np.bincount(place, x) / number, np.bincount(place, y) / number, number


def _cell_lines(variant: str, rows: Sequence[Row], gains: np.ndarray, base: Row) -> list[Line]:
    by_count = sorted(zip(rows, map(float, gains), strict=True), key=lambda pair: pair[0].trials[0].count)
    return [
        Line(
            [variant, f"{row.trials[0].count:,}", f"{gain:+.3f}", row.name],
            {"variant": variant, "count": row.trials[0].count, "gain": gain, "cells": 1, "smooth": 0},
            row.keys + base.keys,
        )
        for row, gain in by_count
    ]


def _smooth_lines(variant: str, curve: Smooth, rows: Sequence[Row]) -> list[Line]:
    keys = tuple(key for row in rows for key in row.keys)
    lines = []
    for i in np.linspace(0, len(curve.counts) - 1, SHOWN).round().astype(int):
        gain, reach = float(curve.gain[i]), float(curve.reach[i])
        bounds = f"{gain:+.3f} [{gain - reach:+.3f}, {gain + reach:+.3f}]"
        cells = [variant, f"{curve.counts[i]:,.0f}", bounds, f"smooth of {len(rows)} cells"]
        values = {"variant": variant, "count": float(curve.counts[i]), "gain": gain, "gain_low": gain - reach}
        lines.append(Line(cells, {**values, "gain_high": gain + reach, "cells": len(rows), "smooth": 1}, keys))
    return lines


def _note(points: Mapping[str, tuple[np.ndarray, np.ndarray]], smooths: Mapping[str, Smooth], drawn: str) -> str:
    """How the tables were made; `drawn`: what is taken as drawn at random."""
    texts = [f"Brackets: 95% intervals over {drawn} of the paired gain, not adjusted for multiple comparisons."]
    if points:
        numbers = ", ".join(f"{variant} {len(counts)}" for variant, (counts, _) in points.items())
        texts.append(
            f"Drawn cells ({numbers}): their gain is the difference of means on the test split; a search draws more "
            "cells where it found better ones, and other hyperparameters differ between cells. Smooths are Gaussian "
            "processes with 95% bands of the mean curve over such cells on these patients: exploratory, not a test."
        )
    if few := [variant for variant in points if variant not in smooths]:
        texts.append(f"Each cell is listed, without a smooth, where they are fewer than {FEWEST}: {', '.join(few)}.")
    return " ".join(texts)


def _draw(
    enumerated: Mapping[str, Mapping[int, tuple[Row, Comparison]]],
    points: Mapping[str, tuple[np.ndarray, np.ndarray]],
    smooths: Mapping[str, Smooth],
    iou: float,
) -> Figure:
    """A panel per variant, all with the same axes."""
    from matplotlib.figure import Figure

    variants = list(dict.fromkeys([*enumerated, *points]))
    figure = Figure(figsize=(3.2 * len(variants) + 0.8, 3.4), layout="constrained")
    panels = figure.subplots(1, len(variants), sharex=True, sharey=True, squeeze=False)[0]
    for axes, variant in zip(panels, variants, strict=True):
        if variant in enumerated:
            _draw_arms(axes, enumerated[variant])
        if variant in points:
            axes.plot(*points[variant], ".", color=FAINT, label=f"{len(points[variant][0])} drawn cells")
        if variant in smooths:
            curve = smooths[variant]
            low, high = curve.gain - curve.reach, curve.gain + curve.reach
            axes.plot(curve.counts, curve.gain, color=COLOURS[3], ls="--", label="smooth (exploratory)")
            axes.fill_between(curve.counts, low, high, color=COLOURS[3], alpha=0.2, lw=0)
        axes.axhline(0, color=INK, lw=0.7, ls=":")
        axes.set(title=variant, xlabel="synthetic slices")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    panels[0].set(ylabel=f"gain in sensitivity, IoU {iou:g}")
    return figure


def _draw_arms(axes: Axes, arms: Mapping[int, tuple[Row, Comparison]]) -> None:
    """Gains from 0 slices on, which gain nothing by definition, with a band where intervals are known."""
    counts = [0, *sorted(arms)]
    gains = [arms[count][1] for count in counts[1:]]
    axes.plot(counts, [0.0, *(gain.difference for gain in gains)], "o-", ms=4, color=COLOURS[0], label="arms")
    low, high = ([0.0, *(getattr(gain.interval, end) for gain in gains)] for end in ("low", "high"))
    bounded = [not math.isnan(bound) for bound in low]
    axes.fill_between(counts, low, high, where=bounded, color=COLOURS[0], alpha=0.2, lw=0)
