"""Intervals over patients: slices and lesions of one patient resemble each other, so patients are what is resampled.

Bootstrapping slices or lesions instead gives intervals three to four times too narrow. Everything here is a ratio of
sums over patients, so a resample is a row of weights (how often each patient was drawn) and a matrix product makes all
resamples of all figures at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from trainers.evaluation.froc import MOST_FPS, froc
from trainers.evaluation.outcome import Outcome

CURVE_POINTS = 512
"""Thresholds of a curve that is resampled."""
LEVEL = 0.95
"""Coverage of every interval."""
FEW_PATIENTS = 10
"""With fewer patients a bootstrap interval is too narrow; reports warn beside it."""


class Interval(NamedTuple):
    """Bounds of an interval of coverage LEVEL."""

    low: float
    high: float


def bootstrap_weights(patients: int, draws: int, seed: int) -> np.ndarray:
    """How often each patient is drawn in each resample, draws x patients float64; rows sum to `patients`."""
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), draws).astype(np.float64)


def leave_one_out_weights(lesions: np.ndarray, folds: np.ndarray | None = None) -> np.ndarray:
    """Row 0 holds every patient, the others all but one of those that have lesions, in turn.

    Patients without lesions say nothing of sensitivity and would only make a study look larger.

    Args:
        lesions: of each of P patients.
        folds: of each patient; then whole folds are left out in turn, whose patients share their detectors.

    Returns:
        (1 + patients, or folds, with lesions) x P float64.
    """
    units = np.arange(len(lesions)) if folds is None else folds
    left_out = np.unique(units[np.asarray(lesions) > 0])
    return np.concatenate([np.ones((1, len(units))), units != left_out[:, None]])


def ratios(weights: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Ratios of weighted sums over patients.

    Args:
        weights: B x P.
        above: P or P x K counts, e.g. true positives of K detectors.
        below: P counts, e.g. lesions; a resample without any gives NaN.

    Returns:
        B or B x K float64.
    """
    total = weights @ np.asarray(below, dtype=np.float64)
    total = np.where(total > 0, total, np.nan)
    sums = weights @ np.asarray(above, dtype=np.float64)
    return sums / (total if sums.ndim == 1 else total[:, None])


def interval(values: np.ndarray) -> Interval:
    """The percentile interval of bootstrap values (B); NaN values, resamples without a lesion, are left out."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class PatientCurve:
    """Counts of every patient as the confidence threshold falls: a FROC curve that can be resampled."""

    thresholds: np.ndarray
    """T, falling, the first infinite (no detection)."""
    true_positives: np.ndarray
    """P x T, of detections at or above each threshold."""
    false_positives: np.ndarray
    """P x T."""
    lesions: np.ndarray
    """P."""
    slices: np.ndarray
    """P."""

    def sensitivity_at(self, fps_per_slice: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sensitivity of resamples at the lowest threshold with no more than some false positives per slice.

        Args:
            fps_per_slice: F values, or B x 1 with one for each resample.
            weights: B x P.

        Returns:
            B x F float64 (F = 1 for B x 1); the threshold is chosen anew in every resample.
        """
        rates = ratios(weights, self.false_positives, self.slices)
        sensitivity = ratios(weights, self.true_positives, self.lesions)
        limits = np.broadcast_to(np.atleast_2d(fps_per_slice), (len(weights), np.atleast_2d(fps_per_slice).shape[1]))
        last = np.stack(
            [np.searchsorted(row, limit, side="right") - 1 for row, limit in zip(rates, limits, strict=True)]
        )
        return np.take_along_axis(sensitivity, last, axis=1)


def patient_curve(outcome: Outcome, most: int | None = None) -> PatientCurve:
    """Counts of every patient at all distinct confidences, or at about `most` of them.

    Those `most` are chosen by the false positives that they make, not by rank: dense where there are few, none beyond
    twice the end of FROC axes, and each the lowest threshold that makes no more.
    """
    truth = outcome.truth
    patient = truth.patient_of_slice
    confidence = outcome.detections["confidence"].to_numpy(dtype=np.float64)
    falling = np.unique(confidence)[::-1]
    if most is not None and len(falling) > most:
        rising = np.sort(confidence[~outcome.hit])
        false_positives = len(rising) - np.searchsorted(rising, falling, side="left")
        end = min(false_positives[-1], 2 * MOST_FPS * len(truth.slices))
        wanted = end * np.linspace(0, 1, most) ** 2
        last = np.searchsorted(false_positives, wanted, side="right") - 1
        falling = falling[np.unique(last[last >= 0])]
    thresholds = np.concatenate([[np.inf], falling])
    patient_of_detection = patient[outcome.detections["slice"].to_numpy(dtype=np.int64)]

    def cumulative(kept: np.ndarray) -> np.ndarray:
        table = np.empty((len(truth.patients), len(thresholds)))
        for row in range(len(table)):
            rising = np.sort(confidence[kept & (patient_of_detection == row)])
            table[row] = len(rising) - np.searchsorted(rising, thresholds, side="left")
        return table

    lesions = np.bincount(patient[truth.lesions["slice"].to_numpy(dtype=np.int64)], minlength=len(truth.patients))
    slices = np.bincount(patient, minlength=len(truth.patients))
    return PatientCurve(thresholds, cumulative(outcome.hit), cumulative(~outcome.hit), lesions, slices)


def froc_band(outcomes: Sequence[Outcome], fps_per_slice: np.ndarray, weights: np.ndarray) -> pd.DataFrame:
    """Sensitivity at given false positives per slice, the mean over several detectors (seeds), with its interval.

    Returns:
        Columns `fps_per_slice`, `sensitivity` (exact), `low`, `high` (from resamples of curves of CURVE_POINTS).
    """
    exact = []
    for curve in map(froc, outcomes):
        # `operating_point` for all of them at once
        last = np.searchsorted(curve["fps_per_slice"].to_numpy(), fps_per_slice, side="right") - 1
        exact.append(curve["sensitivity"].to_numpy()[last])
    curves = [patient_curve(outcome, CURVE_POINTS) for outcome in outcomes]
    resampled = np.mean([curve.sensitivity_at(fps_per_slice, weights) for curve in curves], axis=0)
    bounds = [interval(column) for column in resampled.T]
    return pd.DataFrame(
        {
            "fps_per_slice": fps_per_slice,
            "sensitivity": np.mean(exact, axis=0),
            "low": [bound.low for bound in bounds],
            "high": [bound.high for bound in bounds],
        }
    )
