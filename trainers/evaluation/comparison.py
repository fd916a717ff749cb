"""Is one arm better than another? Paired over the same patients and seeds, both drawn at random.

The analysis is Obuchowski and Rockette's for studies with several readers and cases (Commun. Stat. Simul. Comput. 24,
1995), as Hillis gives it for two treatments (Stat. Med. 26, 2007). A training seed takes the reader's place: detectors
trained from other seeds would have found other lesions, other patients would have had others. Covariances over patients
come from the jackknife.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from trainers.evaluation.bootstrap import LEVEL, Interval

MOST_SEEDS = 1000
POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """A difference between two arms, mean over seeds."""

    difference: float
    interval: Interval
    """Of coverage LEVEL; NaN where p is not known."""
    p: float
    """Two-sided, against no difference; NaN where the variance cannot be estimated: a single patient with lesions, or
    differences that never vary."""
    seeds: int
    patients: int
    """Those with lesions."""
    seed_variance: float
    """Variance of the difference from seed to seed on the same patients; NaN with a single seed."""
    patient_variance: float
    """Variance of the difference that all seeds share, because they meet the same patients."""

    @property
    def minimum_detectable(self) -> float:
        """The smallest true difference that a study of this size shows (p < 5 %) with a probability of POWER.

        NaN where p is not known.
        """
        if math.isnan(self.p):
            return math.nan
        return _detectable(self._seed_share, self.seeds, self.patient_variance, self.patients)

    def simultaneous(self, comparisons: int) -> Interval:
        """The interval for a difference that was picked from so many: all of theirs hold at once with LEVEL.

        Bonferroni's (Dunn, J. Am. Stat. Assoc. 56, 1961), which is Holm's first step; NaN where p is not known.
        """
        if math.isnan(self.p):
            return self.interval
        freedom = _freedom_of(self._seed_share, self.seeds, self.patient_variance, self.patients)
        tail = (1 - LEVEL) / 2 / comparisons
        reach = float(stats.t.ppf(1 - tail, freedom)) * math.sqrt(self._seed_share + self.patient_variance)
        return Interval(self.difference - reach, self.difference + reach)

    @property
    def _seed_share(self) -> float:
        return 0.0 if math.isnan(self.seed_variance) else self.seed_variance / self.seeds


def compare(differences: np.ndarray) -> Comparison:
    """Test whether a difference is zero.

    Args:
        differences: S x (1 + P): for each seed the difference on all patients, then without each patient with lesions
            in turn (`bootstrap.leave_one_out_weights`).

    With a single seed, how seeds differ is not known: the comparison then holds for these two trained detectors alone.
    Degrees of freedom join the seeds' S - 1 and the patients' P - 1 by Satterthwaite's rule; Hillis takes the patients'
    as infinite, which a test split of few patients does not allow.
    """
    seeds, patients = differences.shape[0], differences.shape[1] - 1
    by_seed = differences[:, 0]
    mean = float(by_seed.mean())
    if patients < 2:
        return _unknown(mean, seeds, patients)
    centred = differences[:, 1:] - differences[:, 1:].mean(axis=1, keepdims=True)
    covariance = (patients - 1) / patients * centred @ centred.T
    if seeds == 1:
        seed_variance, shared = float("nan"), float(covariance[0, 0])
        seed_share, error = 0.0, math.sqrt(shared)
    else:
        seed_variance = float(by_seed.var(ddof=1))
        shared = max(0.0, float((covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1))))
        seed_share = seed_variance / seeds
        error = math.sqrt(seed_share + shared)
    if error == 0 and mean:
        return _unknown(mean, seeds, patients)
    if error == 0:
        return Comparison(mean, Interval(mean, mean), 1.0, seeds, patients, seed_variance, shared)
    freedom = _freedom_of(seed_share, seeds, shared, patients)
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Comparison(mean, Interval(mean - reach, mean + reach), p, seeds, patients, seed_variance, shared)


def _unknown(difference: float, seeds: int, patients: int) -> Comparison:
    nan = math.nan
    return Comparison(difference, Interval(nan, nan), nan, seeds, patients, nan, nan)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Scand. J. Stat. 6, 1979) of p values tested together; NaN stays NaN."""
    adjusted = [float("nan")] * len(p_values)
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = highest
    return adjusted


def seeds_needed(comparison: Comparison, gain: float) -> int | None:
    """How many seeds an arm would need to show a true `gain` (p < 5 %) with a probability of POWER.

    Returns:
        None if it is not known (one seed, one patient) or if more seeds cannot help: the patients' share is too large.
    """
    if math.isnan(comparison.seed_variance):
        return None
    for seeds in range(2, MOST_SEEDS + 1):
        share = comparison.seed_variance / seeds
        if _detectable(share, seeds, comparison.patient_variance, comparison.patients) <= gain:
            return seeds
    return None


def _freedom_of(seed_share: float, seeds: int, patient_share: float, patients: int) -> float:
    if seeds == 1:
        return patients - 1.0
    spread = seed_share**2 / (seeds - 1) + patient_share**2 / (patients - 1)
    return (seed_share + patient_share) ** 2 / spread if spread else math.inf


def _detectable(seed_share: float, seeds: int, patient_share: float, patients: int) -> float:
    """Difference that t tests of this variance and freedom find with probability POWER (shifted-t approximation)."""
    freedom = _freedom_of(seed_share, seeds, patient_share, patients)
    quantiles = stats.t.ppf(0.5 + LEVEL / 2, freedom) + stats.t.ppf(POWER, freedom)
    return float(quantiles * math.sqrt(seed_share + patient_share))
