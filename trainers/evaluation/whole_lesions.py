"""Gains of one arm over another for 3-D lesions, by their size: small ones are what readers miss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trainers.evaluation.arms import Arm
from trainers.evaluation.bootstrap import leave_one_out_weights, ratios
from trainers.evaluation.comparison import Comparison, compare
from trainers.evaluation.lesion_level import WholeLesions

SIZES = {"<5": (0.0, 5.0), "5-10": (5.0, 10.0), ">=10": (10.0, np.inf)}
"""Classes of the largest diameter of a lesion over its slices, mm; the upper bound is exclusive."""
ALL = "all"


def size_classes(lesions: WholeLesions) -> Mapping[str, np.ndarray]:
    """`ALL`, then each of SIZES with lesions -> whether each lesion belongs to it."""
    diameter = lesions.diameter_mm
    sizes = {name: (diameter >= low) & (diameter < high) for name, (low, high) in SIZES.items()}
    return {ALL: np.ones(len(diameter), bool), **{name: of for name, of in sizes.items() if of.any()}}


def gains_by_size(lesions: WholeLesions, arm: Arm, base: Arm) -> dict[str, Comparison]:
    """Class -> gain in sensitivity over `base` at the table's confidence, over the seeds that both have.

    A lesion counts as found if it is hit on any slice. Empty without a common seed.
    """
    seeds = arm.common(base)
    # What both find cancels out: the sensitivities share their lesions.
    more = [lesions.found(arm.shown[seed]).astype(int) - lesions.found(base.shown[seed]) for seed in seeds]

    def differences(which: np.ndarray) -> np.ndarray:
        """On all patients, then without each in turn, as `compare` wants it; one row per seed."""
        of_patients = np.bincount(lesions.patient[which], minlength=lesions.patients)
        weights = leave_one_out_weights(of_patients, lesions.folds)
        gained = (np.bincount(lesions.patient, one * which, minlength=lesions.patients) for one in more)
        return np.array([ratios(weights, by_patient, of_patients) for by_patient in gained])

    def compared(which: np.ndarray) -> Comparison:
        folded = None if lesions.folds is None else len(np.unique(lesions.patient[which]))
        return compare(differences(which), folded)

    return {name: compared(which) for name, which in size_classes(lesions).items() if seeds}
