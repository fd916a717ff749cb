"""Arms beside each other: means over seeds with intervals, and each arm against the real-only one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from trainers.evaluation.bootstrap import Interval, PatientCurve, leave_one_out_weights, patient_curve, ratios
from trainers.evaluation.comparison import Comparison, compare, mean_interval
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.froc import FPS_PER_SLICE, froc, operating_point
from trainers.evaluation.metrics import counts_by
from trainers.evaluation.outcome import Outcome

COMPARED_POINTS = 4096
"""Thresholds of the FROC curves that arms are compared on; with fewer detections they are exact."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval for other seeds and other patients (`comparison.mean_interval`).

    Of a single seed, that is for other patients alone; its bounds are NaN where it is undetermined.
    """

    mean: float
    interval: Interval


class Arm:
    """The outcomes of one arm at one IoU threshold, one per seed, all on the same slices.

    With folds an outcome is that of all folds' detectors with one seed (`folds.pool_outcomes`).
    """

    def __init__(self, outcomes: Mapping[int, Outcome], config: EvaluationConfig) -> None:
        self.outcomes = dict(outcomes)
        self.shown = {seed: outcome.at(config.confidence) for seed, outcome in outcomes.items()}

    @cached_property
    def counts(self) -> dict[int, pd.DataFrame]:
        """Seed -> counts of every patient at the table's confidence."""
        return {seed: counts_by(outcome) for seed, outcome in self.shown.items()}

    @cached_property
    def curves(self) -> dict[int, PatientCurve]:
        """Seed -> FROC curve of COMPARED_POINTS."""
        return {seed: patient_curve(outcome, COMPARED_POINTS) for seed, outcome in self.outcomes.items()}

    @property
    def patients_with_lesions(self) -> int:
        """Those of the split whose lesions sensitivity is over."""
        return int((self._lesions > 0).sum())

    @cached_property
    def sensitivity(self) -> Estimate:
        """Over all lesions."""
        return self.ratio("true_positives", "lesions", 1.0)

    @cached_property
    def fps_per_slice(self) -> Estimate:
        """Over all slices."""
        return self.ratio("false_positives", "slices")

    def ratio(self, above: str, below: str, highest: float = math.inf) -> Estimate:
        """One count divided by another, both over all patients.

        Args:
            above: one of `metrics.COUNTS`.
            below: another, which the seeds share: `lesions` or `slices`.
            highest: no such ratio is higher; none is below 0.
        """
        shared = next(iter(self.counts.values()))[below].to_numpy()
        weights = leave_one_out_weights(shared, self._folds)
        values = np.array([ratios(weights, counts[above].to_numpy(), shared) for counts in self.counts.values()])
        return Estimate(float(values[:, 0].mean()), mean_interval(values, 0.0, highest, self.folded))

    @cached_property
    def at_fps_per_slice(self) -> dict[float, Estimate]:
        """Sensitivity at the false positives per slice of FPS_PER_SLICE; the FROC curve's last point beyond its end."""
        asked, weights = np.array(FPS_PER_SLICE), self._weights
        values = np.array([curve.sensitivity_at(asked, weights) for curve in self.curves.values()])
        curves = [froc(outcome) for outcome in self.outcomes.values()]
        return {
            fps: Estimate(
                float(np.mean([operating_point(curve, fps).sensitivity for curve in curves])),
                mean_interval(values[..., i], 0.0, 1.0, self.folded),
            )
            for i, fps in enumerate(FPS_PER_SLICE)
        }

    @property
    def most_fps_per_slice(self) -> float:
        """Where the FROC curves end, mean over seeds."""
        return float(np.mean([outcome.fps_per_slice for outcome in self.outcomes.values()]))

    @property
    def silent(self) -> list[int]:
        """Seeds whose detector detects nothing at the table's confidence."""
        return [seed for seed, outcome in self.shown.items() if outcome.detections.empty]

    def gain(self, base: Arm) -> Comparison | None:
        """Sensitivity minus that of `base`, over the seeds that both have; None without a common seed."""
        weights = self._weights
        return self._compared(
            [self._sensitivity(seed, weights) - base._sensitivity(seed, weights) for seed in self.common(base)]
        )

    def gain_at_equal_fps(self, base: Arm) -> Comparison | None:
        """The same where the detectors of both arms are read at no more false positives per slice than `base` makes.

        That is on their FROC curves, so that moving along one curve is no gain. Where this arm's curve ends before,
        both are read at its end. The thresholds are chosen anew without each patient in turn: their choice counts as
        chance too.
        """
        weights = self._weights
        rows = []
        for seed in self.common(base):
            counts, curve = base.counts[seed], self.curves[seed]
            asked = ratios(weights, counts["false_positives"].to_numpy(), counts["slices"].to_numpy())
            end = ratios(weights, curve.false_positives[:, -1], curve.slices)
            limits = np.minimum(asked, end)[:, None]
            own, other = (arm.curves[seed].sensitivity_at(limits, weights)[:, 0] for arm in (self, base))
            rows.append(own - other)
        return self._compared(rows)

    def gains_at_fps_per_slice(self, base: Arm) -> dict[float, Comparison]:
        """The same where each detector makes as many false positives per slice as FPS_PER_SLICE asks for, or fewer.

        A FROC curve that ends before is read at its end. Empty without a common seed.
        """
        asked, weights = np.array(FPS_PER_SLICE), self._weights
        rows = [
            self.curves[seed].sensitivity_at(asked, weights) - base.curves[seed].sensitivity_at(asked, weights)
            for seed in self.common(base)
        ]
        gains = [self._compared([row[:, i] for row in rows]) for i in range(len(FPS_PER_SLICE))]
        return {fps: gain for fps, gain in zip(FPS_PER_SLICE, gains, strict=True) if gain}

    def common(self, base: Arm) -> list[int]:
        """Seeds of both arms."""
        return [seed for seed in self.outcomes if seed in base.outcomes]

    @property
    def folded(self) -> int | None:
        """Patients with lesions, where each fold of them has detectors of its own; None without folds."""
        return None if self._folds is None else self.patients_with_lesions

    @cached_property
    def _folds(self) -> np.ndarray | None:
        """Of each patient."""
        return next(iter(self.outcomes.values())).truth.fold_of_patient

    @cached_property
    def _weights(self) -> np.ndarray:
        return leave_one_out_weights(self._lesions, self._folds)

    @property
    def _lesions(self) -> np.ndarray:
        """Of each patient."""
        return next(iter(self.counts.values()))["lesions"].to_numpy()

    def _sensitivity(self, seed: int, weights: np.ndarray) -> np.ndarray:
        counts = self.counts[seed]
        return ratios(weights, counts["true_positives"].to_numpy(), counts["lesions"].to_numpy())

    def _compared(self, rows: Sequence[np.ndarray]) -> Comparison | None:
        return compare(np.array(rows), self.folded) if rows else None
