"""Figures of evaluations: one detector's, or several arms' beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from trainers.evaluation.calibration import calibration, calibration_error
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.froc import MOST_FPS
from trainers.evaluation.froc_curve import froc_curve
from trainers.evaluation.metrics import DIAMETERS, diameter_class
from trainers.evaluation.outcome import BOX, Outcome

TRUTH, HIT, MISS, GAINED, LOST = "#00c853", "#ffd600", "#ff1744", "#ff00e5", "#40c4ff"


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


def froc_figure(arms: Mapping[str, Sequence[Outcome]], config: EvaluationConfig, title: str = "") -> Figure:
    """FROC curves with their intervals over patients.

    Args:
        arms: label -> outcomes to average, one per seed, all on the same slices.
        config: number and seed of the resamples; its confidence is marked on each curve.
        title: begins the title.
    """
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for label, outcomes in arms.items():
        band, dot = froc_curve(outcomes, config)
        (line,) = axes.step(band["fps_per_slice"], band["sensitivity"], where="post", label=label)
        colour, fps = line.get_color(), band["fps_per_slice"]
        axes.fill_between(fps, band["low"], band["high"], step="post", alpha=0.15, color=colour, lw=0)
        axes.plot(*dot, "o", color=colour, ms=4)
    axes.set(xlabel="false positives per slice", ylabel="sensitivity", xlim=(0, MOST_FPS), ylim=(0, 1))
    patients = len(outcomes[0].truth.patients)
    axes.set_title(
        f"{title}bands: 95% bootstrap over {patients} patients, for these trained detectors alone\n"
        f"dots: confidence {config.confidence:g}",
        fontsize=8,
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
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
    figure.suptitle("truth (green) beside detections: hits yellow, false positives red", fontsize=9)
    return figure


def gained_figure(images: np.ndarray, rows: np.ndarray, arms: Mapping[str, Outcome], most: int = 5) -> Figure:
    """Slices in rows, the truth and every arm's detections in columns (paper figure 5).

    A magenta V marks a lesion that the first arm misses and this arm finds, a blue X one that only the first arm finds.

    Args:
        images: N x S x S uint8; `rows` names those of the outcomes' slices.
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
    for line, position in zip(grid, shown, strict=True):
        for axes in line:
            show_slice(axes, images[rows[position]])
            axes.axis("off")
        for box in truth.boxes[position]:
            _outline(line[0], box, TRUTH)
        here = np.flatnonzero(truth.lesions["slice"] == position)
        for axes, outcome in zip(line[1:], arms.values(), strict=True):
            _draw_detections(axes, outcome, position)
            gained, lost = outcome.found & ~base_hits, base_hits & ~outcome.found
            for sign, colour, marked in (("V", GAINED, gained), ("X", LOST, lost)):
                for row in here[marked[here]]:
                    axes.text(corners[row, 2], corners[row, 1], sign, color=colour, fontsize=10, weight="bold")
    for axes, label in zip(grid[0], ["truth", *arms], strict=True):
        axes.set_title(label, fontsize=8)
    figure.suptitle(
        f"V: found here but missed by {next(iter(arms))}; X: the reverse.\n"
        "Green: truth, yellow: hit, red: false positive.",
        fontsize=9,
    )
    return figure


def missed_figure(arms: Mapping[str, Sequence[Outcome]]) -> Figure | None:
    """Lesion boxes by diameter, all and missed, a group of bars per arm (mean over seeds); None if none is known."""
    truth = next(iter(arms.values()))[0].truth
    classes = diameter_class(truth.lesions["diameter_mm"].to_numpy(dtype=np.float64))
    if (classes == "unknown").all():
        return None
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    names = [name for name in (*DIAMETERS, "unknown") if (classes == name).any()]
    width = 0.8 / len(arms)
    for i, (label, outcomes) in enumerate(arms.items()):
        missed = [np.mean([(~outcome.found & (classes == name)).sum() for outcome in outcomes]) for name in names]
        at = np.arange(len(names)) - 0.4 + (i + 0.5) * width
        axes.bar(at, missed, 0.9 * width, label=label or "missed")
    totals = [(classes == name).sum() for name in names]
    axes.bar(np.arange(len(names)), totals, 0.86, fill=False, ec="grey", ls=":", label="all lesion boxes")
    axes.set_xticks(range(len(names)), [f"{name} mm" if name in DIAMETERS else name for name in names])
    axes.set(xlabel="diameter of the lesion", ylabel="lesion boxes missed")
    axes.legend(fontsize=8)
    return figure


def confidence_figure(arms: Mapping[str, Sequence[Outcome]]) -> Figure:
    """Histograms of the confidence of hits and of false positives, one panel per arm, its seeds pooled."""
    figure = Figure(figsize=(5.5, 2.4 * len(arms) + 0.6), layout="constrained")
    for axes, (label, outcomes) in zip(figure.subplots(len(arms), squeeze=False)[:, 0], arms.items(), strict=True):
        confidence = np.concatenate([outcome.detections["confidence"].to_numpy() for outcome in outcomes])
        hit = np.concatenate([outcome.hit for outcome in outcomes])
        # 0 to 1, unless scores are no probabilities
        low, high = min(0.0, confidence.min(initial=0)), max(1.0, confidence.max(initial=1))
        for kept, name, colour in ((hit, "hits", HIT), (~hit, "false positives", MISS)):
            axes.hist(
                confidence[kept], bins=40, range=(low, high), alpha=0.6, label=f"{name} ({kept.sum()})", color=colour
            )
        axes.set(xlabel="confidence", ylabel="detections", xlim=(low, high), yscale="symlog", title=label)
        axes.legend(fontsize=8)
    return figure


def calibration_figure(arms: Mapping[str, Sequence[Outcome]]) -> Figure | None:
    """Share of detections that hit, against their confidence, one line per arm, its seeds pooled.

    None without detections, and where confidence is no probability.
    """
    calibrated = {label: calibration(outcomes) for label, outcomes in arms.items()}
    tables = {label: table for label, table in calibrated.items() if table is not None and len(table)}
    if not tables:
        return None
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", ls=":")
    for label, table in tables.items():
        summary = f"calibration error {calibration_error(table):.3f}, {table['detections'].sum():,} detections"
        axes.plot(table["confidence"], table["precision"], "o-", label=f"{label}: {summary}" if label else summary)
    axes.set(xlabel="confidence", ylabel="share that hits a lesion", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7)
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
    """The detections of one slice: hits yellow, false positives red, with their confidence."""
    here = (outcome.detections["slice"] == position).to_numpy()
    boxes = outcome.detections.loc[here, list(BOX)].to_numpy(dtype=np.float64)
    for box, confidence, hit in zip(boxes, outcome.detections.loc[here, "confidence"], outcome.hit[here], strict=True):
        colour = HIT if hit else MISS
        _outline(axes, box, colour)
        axes.text(box[0], box[1] - 1, f"{confidence:.2f}", color=colour, fontsize=5)


def _outline(axes: Axes, box: np.ndarray, colour: str) -> None:
    """The edge of a box, x0, y0, x1, y1 in pixels."""
    corner = (float(box[0]) - 0.5, float(box[1]) - 0.5)
    axes.add_patch(Rectangle(corner, float(box[2] - box[0]), float(box[3] - box[1]), fill=False, ec=colour, lw=1))
