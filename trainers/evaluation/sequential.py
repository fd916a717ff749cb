"""Is an arm better than the base, worse, or neither? Asked anew after every seed, and still valid.

Looking again and again at a 5 % test is wrong far more often than in 5 % of studies. Here the error is spent over the
looks as Lan and DeMets do (Biometrika 70, 1983), with their spending function like O'Brien and Fleming's: early looks
decide on overwhelming differences alone, the last look is almost an ordinary test. The intervals are Jennison and
Turnbull's repeated ones (J. R. Stat. Soc. B 51, 1989), which hold at all looks at once, so that an arm may stop for any
reason.

Boundaries are those of looks at independent seeds. All seeds share their patients, whose part of the variance does not
fall with more seeds: that makes looks more alike, and the boundaries cautious. Variances are estimated, so boundaries
are levels of t tests (Jennison and Turnbull, Group Sequential Methods, 2000, chapter 3). Their quantile is the mean of
the seeds' and the patients' own, weighted by what each adds to the variance (Cochran and Cox, Experimental Designs,
1950): Satterthwaite's degrees of freedom, taken from a variance that three seeds happened to show too small, do not
hold at levels far below 5 % (11 arms at 3 to 8 seeds erred in up to 9.8 % of simulated races).

Several arms: a group-sequential Holm procedure (Ye et al., Stat. Med. 32, 2013). An arm is tested at 5 % divided by the
number of arms that no difference was shown for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import cast

import numpy as np
from scipy import optimize, stats

from trainers.evaluation.bootstrap import LEVEL

DRIFT = 3.0
"""Standard deviations that later seeds may move a difference by, when judging whether they can decide anything."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)
_FAR = 10.0
"""Standard deviations beyond which a density is 0."""
_LEAST_LEVEL = 1e-300


class Decision(IntEnum):
    """What is known of an arm."""

    OPEN = 0
    """Nothing yet: more seeds are needed."""
    WORSE = 1
    """Its sensitivity is below the base's."""
    BETTER = 2
    """It is above."""
    WITHIN = 3
    """It differs by less than the gain that matters."""
    UNDECIDABLE = 4
    """More seeds will decide nothing: the patients' part of the variance is too large."""


SHOWN = (Decision.WORSE, Decision.BETTER)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """When a race looks, and for what."""

    first: int
    """Seeds at the first look, at least 2; another look follows after every seed."""
    most: int
    """Seeds at the last look."""
    gain: float
    """A difference that matters."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Differences from the base over the same seeds and patients, of R studies with K arms each."""

    mean: np.ndarray
    """R x K, mean over the seeds."""
    seed_variance: np.ndarray
    """R x K, from seed to seed on the same patients (`comparison.Comparison`); NaN where it is unknown."""
    patient_variance: np.ndarray
    """R x K, of the mean, which all seeds share; NaN where it is unknown."""
    seeds: int
    patients: int

    def reach(self, level: np.ndarray, seeds: int) -> np.ndarray:
        """Half the width of intervals of coverage 1 - level with so many seeds; infinite where it is unknown.

        Args:
            level: R x 1.
        """
        tail = np.maximum(level, _LEAST_LEVEL) / 2
        parts = ((self.seed_variance / seeds, seeds - 1), (self.patient_variance, self.patients - 1))
        variance = sum(part for part, _ in parts)
        weighted = sum(part * stats.t.isf(tail, freedom) for part, freedom in parts)
        return np.nan_to_num(weighted / np.sqrt(np.where(variance > 0, variance, 1)), nan=np.inf)


@lru_cache(maxsize=256)
def nominal_levels(level: float, first: int, most: int) -> np.ndarray:
    """Level of the two-sided test at each look, so that all looks together have `level`.

    Args:
        level: of all looks.
        first, most: as in `Looks`.

    Returns:
        most - first + 1 levels, increasing.
    """
    shares = np.arange(first, most + 1) / most
    spent = 4 * stats.norm.sf(stats.norm.isf(level / 4) / np.sqrt(shares))  # half of it on either side
    bound = float(stats.norm.isf(spent[0] / 2))
    levels = [spent[0]]
    # The density of sums over seeds, in units of the last look's deviation, of studies that no look has decided yet.
    sums = _points(bound * np.sqrt(shares[0]))
    density = _weights(sums) * stats.norm.pdf(sums, scale=np.sqrt(shares[0]))
    for look in range(1, len(shares)):
        step = np.sqrt(shares[look] - shares[look - 1])
        bound = _bound(sums, density, step, float(np.sqrt(shares[look])), spent[look] - spent[look - 1])
        levels.append(2 * stats.norm.sf(bound))
        later = _points(bound * np.sqrt(shares[look]))
        density = _weights(later) * (stats.norm.pdf(later[:, None], sums, step) @ density)
        sums = later
    return np.array(levels)


def _bound(sums: np.ndarray, density: np.ndarray, step: float, deviation: float, spent: float) -> float:
    """The bound, in deviations of the look's sum, that `spent` of all studies first cross at this look."""

    def excess(bound: float) -> float:
        edge = bound * deviation
        beyond = stats.norm.sf((edge - sums) / step) + stats.norm.cdf((-edge - sums) / step)
        return float(density @ beyond - spent)

    return cast(float, optimize.brentq(excess, 0.0, 40.0))


def _points(edge: float) -> np.ndarray:
    """Where a density between -edge and edge is evaluated."""
    return min(edge, _FAR) * _NODES


def _weights(points: np.ndarray) -> np.ndarray:
    """Of each of `_points` in an integral."""
    return points[-1] / _NODES[-1] * _WEIGHTS


def decide(differences: Differences, decisions: np.ndarray, looks: Looks) -> tuple[np.ndarray, np.ndarray]:
    """Look at all arms after one more seed.

    Args:
        differences: with the seeds of this look.
        decisions: R x K of `Decision`, those of the look before; all OPEN at the first. Decided arms keep theirs.
        looks: the race's.

    Returns:
        Decisions, R x K; and half the width of each arm's repeated confidence interval, R x K.
    """
    decisions, arms, mean = decisions.copy(), decisions.shape[1], np.abs(differences.mean)

    def reach(seeds: int) -> np.ndarray:
        tested = np.maximum(arms - np.isin(decisions, SHOWN).sum(axis=1, keepdims=True), 1)
        levels = [nominal_levels((1 - LEVEL) / number, looks.first, looks.most) for number in range(1, arms + 1)]
        return differences.reach(np.array(levels)[tested - 1, seeds - looks.first], seeds)

    while True:
        half = reach(differences.seeds)
        shown = (decisions == Decision.OPEN) & (mean > half)
        if not shown.any():
            break
        decisions[shown] = np.where(differences.mean > 0, Decision.BETTER, Decision.WORSE)[shown]
    decisions[(decisions == Decision.OPEN) & (mean + half < looks.gain)] = Decision.WITHIN
    if differences.seeds < looks.most:
        last = reach(looks.most)
        drift = DRIFT * np.sqrt(differences.seed_variance * (1 / differences.seeds - 1 / looks.most))
        hopeless = (mean + drift <= last) & (np.maximum(mean - drift, 0) + last >= looks.gain)
        decisions[(decisions == Decision.OPEN) & hopeless] = Decision.UNDECIDABLE
    return decisions, half
