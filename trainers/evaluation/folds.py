"""What the detectors of all folds found together: each judges the patients of its fold, so all patients count once.

Detections of different detectors share one confidence threshold in what is pooled, as a FROC curve needs one: folds
whose detectors are surer of themselves than others make the curve of all lower than their own curves are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd

from trainers.evaluation.calibration import calibration_error
from trainers.evaluation.metrics import DIAMETERS, ClassCounts, Figures
from trainers.evaluation.metrics_file import CurvePoint, Metrics, Summary
from trainers.evaluation.outcome import FOLD, Outcome, Truth

UNKNOWN = [math.nan, math.nan]
"""The interval of a pooled figure: those of its folds say nothing of how folds differ."""


def pool_outcomes(folds: Sequence[Mapping[float, Outcome]]) -> dict[float, Outcome]:
    """IoU threshold -> the outcome on the slices of all folds, which have no patient in common."""
    slices = [next(iter(outcomes.values())).truth.slices for outcomes in folds]
    starts = [sum(map(len, slices[:number])) for number in range(len(folds))]
    named = [table.assign(**{FOLD: number}) for number, table in enumerate(slices, start=1)]
    lesions = [next(iter(outcomes.values())).truth.lesions for outcomes in folds]
    first_rows = [sum(map(len, lesions[:number])) for number in range(len(folds))]
    truth = Truth(
        pd.concat(named, ignore_index=True),
        pd.concat(
            [table.assign(slice=table["slice"] + start) for table, start in zip(lesions, starts, strict=True)],
            ignore_index=True,
        ),
    )

    def detections(iou: float) -> pd.DataFrame:
        moved = []
        for outcomes, start, first in zip(folds, starts, first_rows, strict=True):
            outcome = outcomes[iou]
            rows = outcome.detections["lesion_row"].where(~outcome.hit, outcome.detections["lesion_row"] + first)
            moved.append(outcome.detections.assign(slice=outcome.detections["slice"] + start, lesion_row=rows))
        return pd.concat(moved, ignore_index=True)

    return {iou: Outcome(truth, iou, detections(iou)) for iou in folds[0]}


def pool_metrics(folds: Sequence[Metrics]) -> Metrics:
    """The figures of all folds together, without their intervals; sensitivity at given false positives per slice is
    that of each detector at its own threshold. Those of a single evaluation are unchanged."""
    if len(folds) == 1:
        return folds[0]
    return {
        split: {iou: _summary([fold[split][iou] for fold in folds]) for iou in by_iou}
        for split, by_iou in folds[0].items()
    }


def _summary(parts: Sequence[Summary]) -> Summary:
    by_diameter = [part["by_diameter"] for part in parts]
    scanners = sorted({name for part in parts for name in part["by_scanner"]})
    chances = [part["chance"] for part in parts]
    summary = {
        **_figures(parts),
        "patients": sum(part["patients"] for part in parts),
        "patients_with_lesions": sum(part["patients_with_lesions"] for part in parts),
        "intervals": {},
        "at_fps_per_slice": {fps: _point(parts, fps) for fps in parts[0]["at_fps_per_slice"]},
        "by_diameter": {name: {**one, "interval": UNKNOWN} for name, one in _classes(by_diameter).items()},
        "by_scanner": {
            name: _figures([part["by_scanner"][name] for part in parts if name in part["by_scanner"]])
            for name in scanners
        },
        "lesion_level": _lesion_level(parts),
        "chance": None
        if None in chances
        else {
            "sensitivity": _mean([chance["sensitivity"] for chance in chances if chance], _numbers(parts, "lesions")),
            "interval": UNKNOWN,
            "shuffles": min(chance["shuffles"] for chance in chances if chance),
        },
        "calibration": _calibration(parts),
    }
    return cast("Summary", summary)


def _numbers(parts: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [part[name] for part in parts]


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _figures(parts: Sequence[Figures]) -> Figures:
    return Figures(
        sensitivity=_mean(_numbers(parts, "sensitivity"), _numbers(parts, "lesions")),
        fps_per_slice=_mean(_numbers(parts, "fps_per_slice"), _numbers(parts, "slices")),
        true_positives=sum(part["true_positives"] for part in parts),
        false_positives=sum(part["false_positives"] for part in parts),
        lesions=sum(part["lesions"] for part in parts),
        slices=sum(part["slices"] for part in parts),
    )


def _classes(parts: Sequence[Mapping[str, ClassCounts]]) -> dict[str, ClassCounts]:
    pooled: dict[str, ClassCounts] = {}
    for name in (*DIAMETERS, "unknown"):
        having = [part[name] for part in parts if name in part]
        if having:
            found, lesions = (int(sum(_numbers(having, count))) for count in ("true_positives", "lesions"))
            pooled[name] = {"sensitivity": found / lesions, "true_positives": found, "lesions": lesions}
    return pooled


def _point(parts: Sequence[Summary], fps: str) -> CurvePoint:
    points = [part["at_fps_per_slice"][fps] for part in parts]
    return {
        "sensitivity": _mean(_numbers(points, "sensitivity"), _numbers(parts, "lesions")),
        "interval": UNKNOWN,
        "confidence": None,
        "fps_per_slice": _mean(_numbers(points, "fps_per_slice"), _numbers(parts, "slices")),
        "ends_before": any(point["ends_before"] for point in points),
    }


def _lesion_level(parts: Sequence[Summary]) -> Mapping[str, Any] | None:
    known = [part["lesion_level"] for part in parts if part["lesion_level"]]
    if len(known) < len(parts):
        return None
    counts = {
        name: int(sum(_numbers(known, name))) for name in ("true_positives", "false_positives", "lesions", "volumes")
    }
    return {
        "sensitivity": counts["true_positives"] / counts["lesions"],
        "fps_per_volume": counts["false_positives"] / counts["volumes"],
        **counts,
        "by_diameter": _classes([one["by_diameter"] for one in known]),
    }


def _calibration(parts: Sequence[Summary]) -> Mapping[str, Any] | None:
    known = [part["calibration"] for part in parts if part["calibration"]]
    if len(known) < len(parts):
        return None
    bins = pd.DataFrame([one for part in known for one in part["bins"]])
    if bins.empty:
        return {"error": None, "bins": []}
    sums = bins.assign(**{name: bins[name] * bins["detections"] for name in ("confidence", "precision")})
    pooled = sums.groupby(["low", "high"], as_index=False)[["detections", "confidence", "precision"]].sum()
    pooled[["confidence", "precision"]] = pooled[["confidence", "precision"]].div(pooled["detections"], axis=0)
    return {"error": calibration_error(pooled), "bins": pooled.to_dict("records")}
