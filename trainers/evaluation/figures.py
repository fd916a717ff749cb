"""Figures of evaluations: one detector's, or several arms' beside each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from trainers.evaluation.calibration import calibration, calibration_error
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.froc import MOST_FPS
from trainers.evaluation.froc_curve import froc_curve
from trainers.evaluation.metrics import DIAMETERS, diameter_class
from trainers.evaluation.outcome import BOX, Outcome
from trainers.palette import COLOURS, FAINT, FALSE_POSITIVE, HIT, INK, PAGE, TRUTH, colour, hatch, line, marker

IN_ROW = 2
"""Panels beside each other."""


def figures_of_boxes(outcomes: Mapping[float, Outcome], config: EvaluationConfig) -> dict[str, Figure]:
    """All figures of one detector that need no slices: the FROC curve at every IoU, the others at the loosest."""
    loosest = outcomes[min(outcomes)].at(config.confidence)
    drawn = {
        "froc": froc_figure({f"IoU {iou:g}": [outcome] for iou, outcome in outcomes.items()}, config),
        "confidence": confidence_figure({"": [loosest]}),
        "calibration": calibration_figure({"": [loosest]}),
        "missed_by_diameter": missed_figure({"": [loosest]}),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def froc_figure(
    arms: Mapping[str, Sequence[Outcome]],
    config: EvaluationConfig,
    title: str = "",
    banded: Collection[str] | None = None,
) -> Figure:
    """FROC curves with their intervals over patients.

    Args:
        arms: label -> outcomes to average, one per seed, all on the same slices.
        config: number and seed of the resamples; its confidence is marked on each curve.
        title: begins the title.
        banded: labels of the curves that show their interval; None for all.
    """
    figure = Figure(figsize=(6.4, 4.5), layout="constrained")
    axes = figure.subplots()
    shown_bands = [label for label in arms if banded is None or label in banded]
    of_some = "" if banded is None else f" of {', '.join(shown_bands)}"
    for number, (label, outcomes) in enumerate(arms.items()):
        band, dot = froc_curve(outcomes, config)
        fps, of_arm = band["fps_per_slice"], colour(number)
        axes.step(fps, band["sensitivity"], where="post", label=label, color=of_arm, ls=line(number))
        if label in shown_bands:
            axes.fill_between(fps, band["low"], band["high"], step="post", alpha=0.18, color=of_arm, lw=0)
        axes.plot(*dot, marker(number), color=of_arm, ms=6, mec=PAGE, mew=0.6)
    axes.set(xlabel="false positives per slice", ylabel="sensitivity", xlim=(0, MOST_FPS), ylim=(0, 1))
    patients = len(outcomes[0].truth.patients)
    axes.set_title(
        f"{title}markers: confidence {config.confidence:g}; bands{of_some}\n"
        f"95% bootstrap over {patients} patients, for these trained detectors alone",
        fontsize=8,
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), handlelength=3)
    return figure


def detections_figure(images: np.ndarray, rows: np.ndarray, outcome: Outcome, shown: np.ndarray) -> Figure:
    """Pairs of a slice with its lesions and the same slice with its detections.

    Args:
        images: N x S x S uint8; `rows` names those of the outcome's slices.
        shown: positions of slices in the outcome.
    """
    figure, pairs = pairs_of_axes(len(shown), 3, (4.0, 2.3))
    for (left, right), position in zip(pairs, shown, strict=True):
        for axes in (left, right):
            show_slice(axes, images[rows[position]])
        left.set_title(outcome.truth.slices["slice_id"].iloc[position], fontsize=7)
        for box in outcome.truth.boxes[position]:
            _outline(left, box, TRUTH)
        _draw_detections(right, outcome, position)
    figure.suptitle("truth (blue) beside detections: hits yellow, false positives orange and dashed", fontsize=9)
    return figure


def gained_figure(images: Sequence[np.ndarray], arms: Mapping[str, Outcome], most: int = 5) -> Figure:
    """Slices in rows, the truth and every arm's detections in columns (paper figure 5).

    A V marks a lesion that the first arm misses and this arm finds, an X one that only the first arm finds.

    Args:
        images: S x S uint8, one for each of the outcomes' slices.
        arms: label -> outcome, all of one truth; the first is the real-only arm.
        most: slices, those with most such lesions.
    """
    base, *others = arms.values()
    truth, base_hits = base.truth, base.found
    differs = sum((other.found != base_hits).astype(int) for other in others)
    by_slice = np.bincount(truth.lesions["slice"], weights=differs, minlength=len(truth.slices))
    shown = np.argsort(-by_slice, kind="stable")[:most]
    corners = truth.lesions[list(BOX)].to_numpy(dtype=np.float64)

    figure = Figure(figsize=(1.9 * (1 + len(arms)), 1.9 * len(shown) + 0.6), layout="constrained")
    grid = figure.subplots(len(shown), 1 + len(arms), squeeze=False)
    for panels, position in zip(grid, shown, strict=True):
        for axes in panels:
            show_slice(axes, images[position])
            axes.axis("off")
        for box in truth.boxes[position]:
            _outline(panels[0], box, TRUTH)
        here = np.flatnonzero(truth.lesions["slice"] == position)
        for axes, outcome in zip(panels[1:], arms.values(), strict=True):
            _draw_detections(axes, outcome, position)
            gained, lost = outcome.found & ~base_hits, base_hits & ~outcome.found
            for sign, marked in (("V", gained), ("X", lost)):
                for row in here[marked[here]]:
                    mark = axes.text(corners[row, 2], corners[row, 1], sign, color=TRUTH, fontsize=10, weight="bold")
                    mark.set_path_effects([withStroke(linewidth=2, foreground="#202020")])
    for axes, label in zip(grid[0], ["truth", *arms], strict=True):
        axes.set_title(label, fontsize=8)
    figure.suptitle(
        f"V: found here but missed by {next(iter(arms))}; X: the reverse.\n"
        "Blue: truth, yellow: hit, orange and dashed: false positive.",
        fontsize=9,
    )
    return figure


def missed_figure(arms: Mapping[str, Sequence[Outcome]]) -> Figure | None:
    """Lesion boxes by diameter, all and missed, a group of bars per arm (mean over seeds); None if none is known."""
    truth = next(iter(arms.values()))[0].truth
    classes = diameter_class(truth.lesions["diameter_mm"].to_numpy(dtype=np.float64))
    if (classes == "unknown").all():
        return None
    figure = Figure(figsize=(7.4, 3.8), layout="constrained")
    axes = figure.subplots()
    names = [name for name in (*DIAMETERS, "unknown") if (classes == name).any()]
    width = 0.8 / len(arms)
    for i, (label, outcomes) in enumerate(arms.items()):
        missed = [np.mean([(~outcome.found & (classes == name)).sum() for outcome in outcomes]) for name in names]
        at = np.arange(len(names)) - 0.4 + (i + 0.5) * width
        axes.bar(
            at,
            missed,
            0.9 * width,
            label=label or "missed",
            fc=colour(i) if i else FAINT,
            ec=PAGE,
            hatch=hatch(i),
            lw=0,
        )
    totals = [(classes == name).sum() for name in names]
    axes.bar(np.arange(len(names)), totals, 0.86, fill=False, ec=INK, ls=":", label="all lesion boxes")
    axes.set_xticks(range(len(names)), [f"{name} mm" if name in DIAMETERS else name for name in names])
    axes.set(xlabel="diameter of the lesion", ylabel="lesion boxes missed")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def confidence_figure(arms: Mapping[str, Sequence[Outcome]]) -> Figure:
    """Histograms of the confidence of hits (filled) and false positives (outlined), a panel per arm, seeds pooled."""
    in_row = min(IN_ROW, len(arms))
    lines = -(-len(arms) // in_row)
    figure = Figure(figsize=(4.4 * in_row, 2.3 * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, in_row, sharey=True, squeeze=False).ravel()
    for axes, (label, outcomes) in zip(panels, arms.items(), strict=False):
        confidence = np.concatenate([outcome.detections["confidence"].to_numpy() for outcome in outcomes])
        hit = np.concatenate([outcome.hit for outcome in outcomes])
        # 0 to 1, unless scores are no probabilities
        low, high = min(0.0, confidence.min(initial=0)), max(1.0, confidence.max(initial=1))
        bins = np.linspace(low, high, 41)
        axes.hist(confidence[hit], bins, color=COLOURS[0], label=f"hits ({hit.sum()})")
        axes.hist(confidence[~hit], bins, histtype="step", lw=1.5, color=INK, label=f"false positives ({(~hit).sum()})")
        axes.set(xlabel="confidence", ylabel="detections", xlim=(low, high), yscale="symlog", title=label)
        axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    for axes in panels[len(arms) :]:
        axes.set_visible(False)
    return figure


def calibration_figure(arms: Mapping[str, Sequence[Outcome]]) -> Figure | None:
    """Share of detections that hit, against their confidence, one line per arm, its seeds pooled.

    None without detections, and where confidence is no probability.
    """
    calibrated = {label: calibration(outcomes) for label, outcomes in arms.items()}
    tables = {label: table for label, table in calibrated.items() if table is not None and len(table)}
    if not tables:
        return None
    figure = Figure(figsize=(5, 4.8 + 0.18 * len(tables)), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=FAINT, lw=0.8, label="confidence = share")
    for i, (label, table) in enumerate(tables.items()):
        summary = f"calibration error {calibration_error(table):.3f}, {table['detections'].sum():,} detections"
        axes.plot(
            table["confidence"],
            table["precision"],
            color=colour(i),
            ls=line(i),
            marker=marker(i),
            ms=5,
            clip_on=False,
            label=f"{label}: {summary}" if label else summary,
        )
    axes.set(xlabel="confidence", ylabel="share that hits a lesion", xlim=(0, 1), ylim=(0, 1))
    figure.legend(fontsize=7, frameon=False, loc="outside lower center", handlelength=4)
    return figure


def pairs_of_axes(count: int, in_row: int, inches: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A figure, and the pairs of axes in it (count x 2), each pair so wide and high."""
    lines = -(-count // in_row)
    figure = Figure(figsize=(inches[0] * in_row, inches[1] * lines + 0.5), layout="constrained")
    grid = figure.subplots(lines, 2 * in_row, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    return figure, grid.reshape(-1, 2)[:count]


def show_slice(axes: Axes, image: np.ndarray) -> None:
    """A slice as it is, without smoothing."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _draw_detections(axes: Axes, outcome: Outcome, position: int) -> None:
    """The detections of one slice with their confidence: hits, and false positives dashed."""
    here = (outcome.detections["slice"] == position).to_numpy()
    boxes = outcome.detections.loc[here, list(BOX)].to_numpy(dtype=np.float64)
    for box, confidence, hit in zip(boxes, outcome.detections.loc[here, "confidence"], outcome.hit[here], strict=True):
        box_colour = HIT if hit else FALSE_POSITIVE
        _outline(axes, box, box_colour, "-" if hit else "--")
        axes.text(box[0], box[1] - 1, f"{confidence:.2f}", color=box_colour, fontsize=5)


def _outline(axes: Axes, box: np.ndarray, edge: str, style: str = "-") -> None:
    """The edge of a box, x0, y0, x1, y1 in pixels."""
    corner, size = (float(box[0]) - 0.5, float(box[1]) - 0.5), (float(box[2] - box[0]), float(box[3] - box[1]))
    axes.add_patch(Rectangle(corner, *size, fill=False, ec=edge, ls=style, lw=1))
