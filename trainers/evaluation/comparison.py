"""Is one arm better than another? Paired over the same patients and seeds, both drawn at random.

The analysis is Obuchowski and Rockette's for studies with several readers and cases (Commun. Stat. Simul. Comput. 24,
1995), as Hillis gives it for two treatments (Stat. Med. 26, 2007). A training seed takes the reader's place: detectors
trained from other seeds would have found other lesions, other patients would have had others. Covariances over patients
come from the jackknife.

With folds, the patients of a fold share all that was trained for it: detectors, GANs, training patients. Folds and
seeds are then two-way clusters (Cameron, Gelbach and Miller, J. Bus. Econ. Stat. 29, 2011). The jackknife leaves out
whole folds (CR3 of Bell and McCaffrey, Surv. Methodol. 28, 2002), which shows all that differs between folds, seeds
within a fold included; what a seed does to all folds is added. Training sets of folds overlap, for which no unbiased
estimator corrects (Bengio and Grandvalet, J. Mach. Learn. Res. 5, 2004).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special  # `scipy.stats` gives the same, and takes half a second to import

from trainers.evaluation.bootstrap import LEVEL, Interval

MOST_SEEDS = 1000
POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """A difference between two arms, mean over seeds."""

    difference: float
    interval: Interval
    """Of coverage LEVEL; NaN where p is undetermined."""
    p: float
    """Two-sided, against no difference; NaN where the variance cannot be estimated: a single patient with lesions, or
    differences that never vary."""
    seeds: int
    patients: int
    """Those with lesions."""
    seed_variance: float
    """Variance of the difference from seed to seed on the same patients; with folds, what a seed does to all of them
    alike. NaN with a single seed."""
    patient_variance: float
    """Variance of the difference that all seeds share, because they meet the same patients; with folds, also the same
    GANs and training patients."""
    folds: int = 0
    """Folds with lesions, which were left out in place of patients; 0 without folds."""
    fold_seed_variance: float = 0.0
    """Variance from seed to seed beyond `seed_variance`, as each fold has a detector of its own for each seed. 0
    without folds, and with a single seed, when it is part of `patient_variance`."""

    @property
    def minimum_detectable(self) -> float:
        """The smallest true difference that a study of this size shows (p < 5 %) with a probability of POWER.

        NaN where p is undetermined.
        """
        if math.isnan(self.p):
            return math.nan
        return float(_detectable(*self.spread(self.seeds)))

    def simultaneous(self, comparisons: int) -> Interval:
        """The interval for a difference that was picked from so many: all of theirs hold at once with LEVEL.

        Bonferroni's (Dunn, J. Am. Stat. Assoc. 56, 1961), which is Holm's first step; NaN where p is undetermined.
        """
        if math.isnan(self.p):
            return self.interval
        variance, freedom = self.spread(self.seeds)
        reach = float(special.stdtrit(freedom, 1 - (1 - LEVEL) / 2 / comparisons)) * math.sqrt(variance)
        return Interval(self.difference - reach, self.difference + reach)

    def spread(self, seeds: Any) -> tuple[Any, Any]:
        """Variance of the mean over so many seeds (a number or an array), and its degrees of freedom.

        Without a variance from seed to seed, that of the other parts alone.
        """
        units = self.folds or self.patients
        if math.isnan(self.seed_variance):
            return self.patient_variance, units - 1.0
        own, others = self.seed_variance / seeds, self.fold_seed_variance / seeds + self.patient_variance
        return own + others, freedom_of_sum(own, seeds, others, units)


def compare(differences: np.ndarray, folded: int | None = None) -> Comparison:
    """Test whether a difference is zero.

    Args:
        differences: S x (1 + P): for each seed the difference on all patients, then without each patient with lesions
            in turn (`bootstrap.leave_one_out_weights`).
        folded: patients with lesions, where each of P left out is a fold of them.

    With a single seed, run-to-run variation is unknown: the comparison holds for these two trained detectors alone.
    Degrees of freedom join the seeds' S - 1 and the patients' P - 1 by Satterthwaite's rule; Hillis takes the patients'
    as infinite, which a test split of few patients does not allow. With folds, folds take the patients' place, also
    with a single seed: how much their detectors differ shows between folds.
    """
    seeds, left_out = differences.shape[0], differences.shape[1] - 1
    patients, folds = (left_out, 0) if folded is None else (folded, left_out)
    by_seed = differences[:, 0]
    mean = float(by_seed.mean())
    if left_out < 2:
        return _unknown(mean, seeds, patients, folds)
    centred = differences[:, 1:] - differences[:, 1:].mean(axis=1, keepdims=True)
    covariance = (left_out - 1) / left_out * centred @ centred.T
    fold_seed_variance = 0.0
    if seeds == 1:
        seed_variance, shared = math.nan, float(covariance[0, 0])
    else:
        seed_variance = float(by_seed.var(ddof=1))
        shared = max(0.0, float((covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1))))
        if folds:
            of_folds = float(covariance.mean())
            seed_variance = max(
                0.0, seed_variance - float(np.trace(covariance) - covariance.sum() / seeds) / (seeds - 1)
            )
            shared = min(shared, of_folds)
            fold_seed_variance = seeds * (of_folds - shared)
    unknown = Interval(math.nan, math.nan)
    found = Comparison(
        mean, unknown, math.nan, seeds, patients, seed_variance, shared, folds, fold_seed_variance=fold_seed_variance
    )
    variance, freedom = found.spread(seeds)
    error = math.sqrt(variance)
    if error == 0 and mean:
        return _unknown(mean, seeds, patients, folds)
    if error == 0:
        return replace(found, interval=Interval(mean, mean), p=1.0)
    reach = float(special.stdtrit(freedom, 0.5 + LEVEL / 2)) * error
    p = float(2 * special.stdtr(freedom, -abs(mean) / error))
    return replace(found, interval=Interval(mean - reach, mean + reach), p=p)


def mean_interval(
    values: np.ndarray, lowest: float = -math.inf, highest: float = math.inf, folded: int | None = None
) -> Interval:
    """The interval of one arm's mean, seeds and patients both drawn at random.

    Obuchowski and Rockette's model of a single treatment (Hillis, Stat. Med. 26, 2007): the variance of the mean over S
    seeds is the variance between seeds divided by S, and beside it the covariance that all seeds share, because they
    meet the same patients. It is what `compare` uses for differences.

    Args:
        values: S x (1 + P), as in `compare`, but of the arm's own figure.
        lowest: no such figure is lower; a bound beyond it is moved there, which changes no coverage.
        highest: likewise.
        folded: as in `compare`.

    Returns:
        NaN bounds where the variance cannot be estimated.
    """
    low, high = compare(values, folded).interval
    return Interval(max(low, lowest), min(high, highest))


def _unknown(difference: float, seeds: int, patients: int, folds: int) -> Comparison:
    nan = math.nan
    return Comparison(difference, Interval(nan, nan), nan, seeds, patients, nan, nan, folds)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Scand. J. Stat. 6, 1979) of p values tested together; NaN remains NaN."""
    adjusted = [math.nan] * len(p_values)
    ranked = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    highest = 0.0
    for rank, (p, i) in enumerate(ranked):
        highest = max(highest, min(1.0, p * (len(ranked) - rank)))
        adjusted[i] = highest
    return adjusted


def seeds_needed(comparison: Comparison, gain: float) -> int | None:
    """How many seeds an arm would need to show a true `gain` (p < 5 %) with a probability of POWER.

    Returns:
        None if undetermined (one seed, one patient) or if more seeds cannot help: the patients' share is too large.
    """
    if math.isnan(comparison.seed_variance):
        return None
    seeds = np.arange(2, MOST_SEEDS + 1)
    enough = seeds[_detectable(*comparison.spread(seeds)) <= gain]
    return int(enough[0]) if len(enough) else None


def freedom_of_sum(
    seed_share: float | np.ndarray, seeds: int | np.ndarray, patient_share: float | np.ndarray, patients: int
) -> np.ndarray:
    """Satterthwaite's degrees of freedom of the sum of both; infinite where nothing varies."""
    spread = np.asarray(seed_share**2 / (seeds - 1) + patient_share**2 / (patients - 1))
    return np.where(spread > 0, (seed_share + patient_share) ** 2 / np.where(spread > 0, spread, 1), np.inf)


def _detectable(variance: float | np.ndarray, freedom: float | np.ndarray) -> np.ndarray:
    """Difference that t tests of this variance and freedom find with probability POWER (shifted-t approximation)."""
    return (special.stdtrit(freedom, 0.5 + LEVEL / 2) + special.stdtrit(freedom, POWER)) * np.sqrt(variance)
