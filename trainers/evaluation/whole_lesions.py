"""Gains of one arm over another for 3-D lesions, by their size: small ones are what readers miss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trainers.evaluation.arms import Arm
from trainers.evaluation.bootstrap import leave_one_out_weights, ratios
from trainers.evaluation.comparison import Comparison, compare
from trainers.evaluation.lesion_level import lesions_3d
from trainers.evaluation.outcome import Outcome, Truth

SIZES = {"<5": (0.0, 5.0), "5-10": (5.0, 10.0), ">=10": (10.0, np.inf)}
"""Classes of the largest diameter of a lesion over its slices, mm; the upper bound is exclusive."""
ALL = "all"


@dataclass(frozen=True)
class WholeLesions:
    """The 3-D lesions of a truth."""

    lesion_of_box: np.ndarray
    """Number of the lesion that each row of `truth.lesions` is a slice of; int64."""
    patient: np.ndarray
    """Position in `truth.patients`, one per lesion; int64."""
    diameter_mm: np.ndarray
    """Largest over the slices, one per lesion; NaN where it is not recorded."""
    patients: int
    """Of the truth, those without lesions included."""

    @staticmethod
    def of(truth: Truth) -> WholeLesions | None:
        """None where the volume or position of a slice is not recorded."""
        if truth.slices[["volume", "z"]].isna().any(axis=None):
            return None
        lesion = lesions_3d(truth)
        boxes = pd.DataFrame(
            {
                "patient": truth.patient_of_slice[truth.lesions["slice"].to_numpy(dtype=np.int64)],
                "diameter": truth.lesions["diameter_mm"].to_numpy(dtype=np.float64),
            }
        ).groupby(lesion)
        patient, diameter = boxes["patient"].first().to_numpy(), boxes["diameter"].max().to_numpy()
        return WholeLesions(lesion, patient, diameter, len(truth.patients))

    @property
    def classes(self) -> Mapping[str, np.ndarray]:
        """`ALL`, then each of SIZES with lesions -> whether each lesion belongs to it."""
        sizes = {name: (self.diameter_mm >= low) & (self.diameter_mm < high) for name, (low, high) in SIZES.items()}
        return {ALL: np.ones(len(self.patient), bool), **{name: of for name, of in sizes.items() if of.any()}}

    def sensitivity(self, outcome: Outcome, which: np.ndarray) -> np.ndarray:
        """Share of lesions of a class that are hit on any slice: of all patients, then without each in turn."""
        found = pd.Series(outcome.found).groupby(self.lesion_of_box).any().to_numpy()
        of_patients = [np.bincount(self.patient[of], minlength=self.patients) for of in (which & found, which)]
        return ratios(leave_one_out_weights(of_patients[1]), *of_patients)

    def gains(self, arm: Arm, base: Arm) -> dict[str, Comparison]:
        """Class -> gain in sensitivity over `base` at the table's confidence, over the seeds that both have.

        Empty without a common seed.
        """
        seeds = arm.common(base)

        def differences(which: np.ndarray) -> np.ndarray:
            pairs = ((arm.shown[seed], base.shown[seed]) for seed in seeds)
            return np.array([self.sensitivity(own, which) - self.sensitivity(other, which) for own, other in pairs])

        return {name: compare(differences(which)) for name, which in self.classes.items() if seeds}
