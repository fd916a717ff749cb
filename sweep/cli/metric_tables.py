"""The figures of one detector as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from sweep.console import TextConsole, TextTable
from sweep.text import count_text
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.metrics_file import CurvePoint, GainFigures, Summary, rate
from trainers.evaluation.outcome import iou_text, with_interval
from trainers.evaluation.summary import few_patients

T = TypeVar("T")
MISSING = "-"
Metrics = Mapping[str, Summary]
"""IoU name -> figures, as `trainers.evaluation.summary.summarise` gives them."""
Rows = Iterable[tuple[str, Sequence[str]]]
"""Label, and a cell per IoU threshold."""


def show_metrics(metrics: Metrics, console: TextConsole, title: str = "Sensitivity and false positives (FPs)") -> None:
    """Print every figure, one table per subject and one column per IoU threshold."""
    first = next(iter(metrics.values()))
    console.say(
        f"{count_text(first['slices'], 'slice')}, {count_text(first['lesions'], 'lesion')}, "
        f"{count_text(first['patients'], 'patient')}; in brackets: "
        f"{first['intervals']['level']:.0%} bootstrap intervals, over patients unless said otherwise."
    )
    if warning := few_patients(first["patients_with_lesions"]):
        console.say(warning)
    console.print(_table(title, metrics, _main_rows(metrics)))
    if first["by_diameter"]:
        console.print(_table("Sensitivity by lesion diameter", metrics, _diameter_rows(metrics)))
    if len(first["by_scanner"]) > 1:
        console.print(_table("Sensitivity and FPs per slice by scanner", metrics, _scanner_rows(metrics)))
    for name, left_out in (("by_diameter", "lesion diameters"), ("lesion_level", "volume and z of the slices")):
        if not first[name]:
            console.say(f"The truth file has no {left_out}; figures that need them are left out.")


def _table(title: str, metrics: Metrics, rows: Rows) -> TextTable:
    columns = ("", *(f"IoU {iou_text(name)}" for name in metrics))
    return TextTable.of(title, columns, ((label, *cells) for label, cells in rows), whole=("",))


def _main_rows(metrics: Metrics) -> list[tuple[str, list[str]]]:
    every = list(metrics.values())
    rows = []
    for measure in TABLE1:
        name, digits = measure.name, measure.digits
        cells = [with_interval(rate(figures, name), figures["intervals"][name], digits) for figures in every]
        rows.append((measure.title, cells))
    for fps in every[0]["at_fps_per_slice"]:
        points = [figures["at_fps_per_slice"][fps] for figures in every]
        rows.append((f"sensitivity at {fps} FPs per slice", [_point(point) for point in points]))
    levels = [figures["lesion_level"] for figures in every]
    for lesions in {level["lesions"] for level in levels if level}:
        title = f"3D lesion sensitivity ({lesions}, found on any slice)"
        rows.append((title, _cells(levels, lambda level: f"{level['sensitivity']:.3f}")))
        title = "FPs per volume, merged across slices"
        rows.append((title, _cells(levels, lambda level: f"{level['fps_per_volume']:.2f}")))
    optional = (
        (
            "chance sensitivity (lesions shuffled)",
            _cells(
                [figures["chance"] for figures in every],
                lambda chance: with_interval(chance["sensitivity"], chance["interval"], 3),
            ),
        ),
        ("gain over the other detector", _cells([figures.get("gain") for figures in every], _gain)),
        ("gain at equal FPs per slice", _cells([figures.get("gain_at_equal_fps") for figures in every], _gain)),
        (
            "calibration error",
            _cells([(figures["calibration"] or {}).get("error") for figures in every], lambda error: f"{error:.3f}"),
        ),
    )
    rows += [(label, cells) for label, cells in optional if set(cells) != {MISSING}]
    return rows


def _cells(figures: Iterable[T | None], text: Callable[[T], str]) -> list[str]:
    """A cell per IoU threshold, also for one that lacks the figure."""
    return [MISSING if figure is None else text(figure) for figure in figures]


def _gain(compared: GainFigures) -> str:
    if compared["p"] is None or compared["interval"] is None:
        return f"{compared['difference']:+.3f}"
    low, high = compared["interval"]
    return f"{compared['difference']:+.3f} [{low:+.3f}, {high:+.3f}], p {compared['p']:.3f}"


def _point(point: CurvePoint) -> str:
    text = with_interval(point["sensitivity"], point["interval"], 3)
    return f"{text} (ends at {point['fps_per_slice']:.2f})" if point["ends_before"] else text


def _diameter_rows(metrics: Metrics) -> Rows:
    for name in next(iter(metrics.values()))["by_diameter"]:
        bins = [figures["by_diameter"][name] for figures in metrics.values()]
        label = f"{name}{'' if name == 'unknown' else ' mm'}, {count_text(bins[0]['lesions'], 'box', 'boxes')}"
        yield label, [with_interval(at_iou["sensitivity"], at_iou["interval"], 3) for at_iou in bins]


def _scanner_rows(metrics: Metrics) -> Rows:
    for name in next(iter(metrics.values()))["by_scanner"]:
        scanners = [figures["by_scanner"][name] for figures in metrics.values()]
        label = f"{name}, {count_text(scanners[0]['lesions'], 'lesion')}"
        yield label, [f"{at_iou['sensitivity']:.3f} at {at_iou['fps_per_slice']:.2f}" for at_iou in scanners]
