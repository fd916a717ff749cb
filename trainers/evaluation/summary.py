"""Every figure of one detector on one truth, as plain numbers: the same for a trial and for anyone's boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import pandas as pd

from trainers.evaluation.arms import Arm
from trainers.evaluation.bootstrap import (
    CURVE_POINTS,
    FEW_PATIENTS,
    LEVEL,
    bootstrap_weights,
    interval,
    patient_curve,
    ratios,
)
from trainers.evaluation.calibration import calibration, calibration_error
from trainers.evaluation.chance import chance
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.froc import FPS_PER_SLICE, froc, operating_point
from trainers.evaluation.lesion_level import lesion_figures
from trainers.evaluation.measures import TABLE1, Measure
from trainers.evaluation.metrics import counts_by, diameter_class, figures, sensitivity_by_diameter
from trainers.evaluation.metrics_file import ClassFigures, CurvePoint, Summary
from trainers.evaluation.outcome import Outcome, name_of


def summarise(outcomes: Mapping[float, Outcome], config: EvaluationConfig) -> dict[str, Summary]:
    """All figures by IoU threshold (`iou50`...), JSON-able.

    The figures of Table 1 and the counts of `metrics.Figures` are those at `config.confidence`; beside them
    `intervals` over patients, `at_fps_per_slice` (the FROC curve at 1, 2, 4 and 8), `by_diameter`, `by_scanner`,
    `lesion_level`, `chance` and `calibration`. What the truth does not allow is None or empty.

    Raises:
        ValueError: no lesion.
    """
    return {name_of(iou): _figures(outcome, config) for iou, outcome in outcomes.items()}


def few_patients(patients: int) -> str | None:
    """What to say beside intervals over so many patients with lesions, or None."""
    if patients >= FEW_PATIENTS:
        return None
    return f"With fewer than {FEW_PATIENTS} patients with lesions the intervals are too narrow (here: {patients})."


def _figures(outcome: Outcome, config: EvaluationConfig) -> Summary:
    shown = outcome.at(config.confidence)
    counts = counts_by(shown)
    weights = bootstrap_weights(len(counts), config.bootstraps, config.seed)
    scanners = counts_by(shown, "scanner") if outcome.truth.slices["scanner"].notna().all() else counts.iloc[:0]
    bins = calibration([shown])
    arm = Arm({0: outcome}, config)
    summary = {
        **figures(counts),
        **{measure.name: measure.estimate(arm).mean for measure in TABLE1},
        "patients": len(counts),
        "patients_with_lesions": int((counts["lesions"] > 0).sum()),
        "intervals": {"level": LEVEL, **{measure.name: _interval(measure, counts, weights) for measure in TABLE1}},
        "at_fps_per_slice": _at_fps(outcome, weights),
        "by_diameter": _by_diameter(shown, weights),
        "by_scanner": {str(name): figures(scanners.loc[[name]]) for name in scanners.index[scanners["lesions"] > 0]},
        "lesion_level": lesion_figures(shown),
        "chance": chance(shown, config.seed),
        "calibration": None if bins is None else {"error": calibration_error(bins), "bins": bins.to_dict("records")},
    }
    return cast("Summary", summary)


def _interval(measure: Measure, counts: pd.DataFrame, weights: np.ndarray) -> list[float]:
    return _bounds(ratios(weights, *(counts[column].to_numpy() for column in measure.counts)))


def _by_diameter(outcome: Outcome, weights: np.ndarray) -> dict[str, ClassFigures]:
    truth = outcome.truth
    patient = truth.patient_of_slice[truth.lesions["slice"].to_numpy(dtype=np.int64)]
    classes = diameter_class(truth.lesions["diameter_mm"].to_numpy(dtype=np.float64))
    hit = outcome.found
    by_diameter: dict[str, ClassFigures] = {}
    for name, figures_of_class in sensitivity_by_diameter(outcome).items():
        here = classes == name
        hits, lesions = (np.bincount(patient[kept], minlength=len(truth.patients)) for kept in (here & hit, here))
        by_diameter[name] = {**figures_of_class, "interval": _bounds(ratios(weights, hits, lesions))}
    return by_diameter


def _at_fps(outcome: Outcome, weights: np.ndarray) -> dict[str, CurvePoint]:
    curve = froc(outcome)
    resampled = patient_curve(outcome, CURVE_POINTS).sensitivity_at(np.array(FPS_PER_SLICE), weights)
    points = {fps: operating_point(curve, fps) for fps in FPS_PER_SLICE}
    return {
        f"{fps:g}": {
            "sensitivity": point.sensitivity,
            "interval": _bounds(column),
            "confidence": None if np.isinf(point.confidence) else point.confidence,
            "fps_per_slice": point.fps_per_slice,
            "ends_before": point.ends_before,
        }
        for (fps, point), column in zip(points.items(), resampled.T, strict=True)
    }


def _bounds(values: np.ndarray) -> list[float]:
    return list(interval(values))
