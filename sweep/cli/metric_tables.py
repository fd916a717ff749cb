"""The figures of one detector as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweep.console import TextConsole, TextTable
from trainers.evaluation.metrics_file import CurvePoint, GainFigures, Summary
from trainers.evaluation.outcome import iou_text, with_interval
from trainers.evaluation.summary import few_patients

Metrics = Mapping[str, Summary]
"""IoU name -> figures, as `trainers.evaluation.summary.summarise` gives them."""


def show_metrics(metrics: Metrics, console: TextConsole, title: str = "Sensitivity and false positives (FPs)") -> None:
    """Print every figure, one table per subject and one column per IoU threshold."""
    first = next(iter(metrics.values()))
    console.say(
        f"{first['slices']:,} slices, {first['lesions']:,} lesions, {first['patients']} patients; in brackets: "
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


def _table(title: str, metrics: Metrics, rows: Sequence[tuple[str, Sequence[str]]]) -> TextTable:
    table = TextTable(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in metrics:
        table.add_column(f"IoU {iou_text(name)}", justify="right")
    for label, cells in rows:
        table.add_row(label, *cells)
    return table


def _main_rows(metrics: Metrics) -> list[tuple[str, list[str]]]:
    every = list(metrics.values())
    rows = [
        (label, [with_interval(figures[key], figures["intervals"][key], digits) for figures in every])
        for label, key, digits in (("sensitivity", "sensitivity", 3), ("FPs per slice", "fps_per_slice", 2))
    ]
    for fps in every[0]["at_fps_per_slice"]:
        points = [figures["at_fps_per_slice"][fps] for figures in every]
        rows.append((f"sensitivity at {fps} FPs per slice", [_point(point) for point in points]))
    if whole := [lesions for figures in every if (lesions := figures["lesion_level"])]:
        rows.append(
            (f"whole lesions found, of {whole[0]['lesions']}", [f"{level['sensitivity']:.3f}" for level in whole])
        )
        rows.append(("FPs per volume, linked over slices", [f"{level['fps_per_volume']:.2f}" for level in whole]))
    if chance := [by_chance for figures in every if (by_chance := figures["chance"])]:
        rows.append(
            (
                "sensitivity by chance, over shuffles",
                [with_interval(shuffled["sensitivity"], shuffled["interval"], 3) for shuffled in chance],
            )
        )
    for name, label in (
        ("gain", "gain over the other detector, jackknife"),
        ("gain_at_equal_fps", "gain at its FPs per slice"),
    ):
        if name in every[0]:
            rows.append((label, [_gain(figures[name]) for figures in every]))
    if errors := [calibration["error"] for figures in every if (calibration := figures["calibration"])]:
        rows.append(("calibration error", ["-" if error is None else f"{error:.3f}" for error in errors]))
    return rows


def _gain(compared: GainFigures) -> str:
    if compared["p"] is None or compared["interval"] is None:
        return f"{compared['difference']:+.3f}"
    low, high = compared["interval"]
    return f"{compared['difference']:+.3f} [{low:+.3f}, {high:+.3f}], p {compared['p']:.3f}"


def _point(point: CurvePoint) -> str:
    text = with_interval(point["sensitivity"], point["interval"], 3)
    return f"{text} (ends at {point['fps_per_slice']:.2f})" if point["ends_before"] else text


def _diameter_rows(metrics: Metrics) -> list[tuple[str, list[str]]]:
    rows = []
    for name in next(iter(metrics.values()))["by_diameter"]:
        bins = [figures["by_diameter"][name] for figures in metrics.values()]
        unit = "" if name == "unknown" else " mm"
        cells = [with_interval(at_iou["sensitivity"], at_iou["interval"], 3) for at_iou in bins]
        rows.append((f"{name}{unit}, {bins[0]['lesions']} boxes", cells))
    return rows


def _scanner_rows(metrics: Metrics) -> list[tuple[str, list[str]]]:
    rows = []
    for name in next(iter(metrics.values()))["by_scanner"]:
        scanners = [figures["by_scanner"][name] for figures in metrics.values()]
        cells = [f"{at_iou['sensitivity']:.3f} at {at_iou['fps_per_slice']:.2f}" for at_iou in scanners]
        rows.append((f"{name}, {scanners[0]['lesions']} lesions", cells))
    return rows
