"""The statistics of readers who call images real or synthetic, alone or in pairs.

An image is the unit: what several readers say of one image is not independent. Intervals of one reader are those of
counts; intervals and tests over several readers resample, or relabel, whole images. The readers stay as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from trainers.evaluation.bootstrap import LEVEL, Interval, bootstrap_weights, interval

DRAWS = 2000
"""Resamples behind an interval."""
MOST_STEPS = 10**8
"""Numbers that an exact distribution may take to compute: about a second."""
UNDEFINED = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Figure:
    """A figure with its interval of coverage LEVEL; NaN where the answers do not define it."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Cells:
    """A row of the paper's Table 2: what a reader called the real and the synthetic images."""

    real_as_real: int
    real_as_synthetic: int
    synthetic_as_real: int
    synthetic_as_synthetic: int

    @classmethod
    def of(cls, real: np.ndarray, called_real: np.ndarray) -> Cells:
        """The cells of N images: whether each is real, and whether it was called real; bool."""
        return cls(
            int((real & called_real).sum()),
            int((real & ~called_real).sum()),
            int((~real & called_real).sum()),
            int((~real & ~called_real).sum()),
        )

    @property
    def real(self) -> int:
        """Number of real images."""
        return self.real_as_real + self.real_as_synthetic

    @property
    def synthetic(self) -> int:
        """Number of synthetic images."""
        return self.synthetic_as_real + self.synthetic_as_synthetic

    @property
    def correct(self) -> int:
        """Right answers."""
        return self.real_as_real + self.synthetic_as_synthetic

    @property
    def accuracy(self) -> Figure:
        """Share of right answers."""
        return share(self.correct, self.real + self.synthetic)

    @property
    def d_prime(self) -> Figure:
        """How far apart real and synthetic images appear, in standard deviations; 0: alike.

        z(called real | real) - z(called real | synthetic), each rate with half an answer added on either side (Hautus,
        Behav. Res. Methods 27, 1995), so that it is finite for readers who are always right. Interval: Gourevitch and
        Galanter, Psychometrika 32, 1967.
        """
        if not (self.real and self.synthetic):
            return Figure(math.nan, UNDEFINED)
        hits = (self.real_as_real + 0.5) / (self.real + 1)
        false_alarms = (self.synthetic_as_real + 0.5) / (self.synthetic + 1)
        variance = _variance_of_z(hits, self.real + 1) + _variance_of_z(false_alarms, self.synthetic + 1)
        return _normal(float(norm.ppf(hits) - norm.ppf(false_alarms)), variance)


def share(count: int, of: int) -> Figure:
    """A share with Wilson's interval (J. Am. Stat. Assoc. 22, 1927)."""
    if not of:
        return Figure(math.nan, UNDEFINED)
    bounds = binomtest(count, of).proportion_ci(LEVEL, "wilson")
    return Figure(count / of, Interval(float(bounds.low), float(bounds.high)))


def d_prime_of_pairs(correct: int, pairs: int) -> Figure:
    """d' of a reader who picked the real image of so many pairs: the square root of 2 times z(share of right picks).

    With half an answer added on either side, as in `Cells.d_prime`. Source: Macmillan and Creelman, Detection Theory.
    """
    if not pairs:
        return Figure(math.nan, UNDEFINED)
    rate = (correct + 0.5) / (pairs + 1)
    return _normal(math.sqrt(2) * float(norm.ppf(rate)), 2 * _variance_of_z(rate, pairs + 1))


def area_under_roc(real: np.ndarray, rating: np.ndarray) -> Figure:
    """Area under the ROC curve of ratings, higher = more surely real: 0.5 if real and synthetic images appear alike.

    Args:
        real: N bool.
        rating: N numbers; only their order counts.

    Returns:
        The interval resamples real and synthetic images, each kind by itself.
    """
    kinds = [rating[real], rating[~real]]
    if not all(map(len, kinds)):
        return Figure(math.nan, UNDEFINED)
    levels = np.unique(rating)
    # share of each resample's images that have each rating
    shares = [
        bootstrap_weights(len(kind), DRAWS, seed) @ (kind[:, None] == levels) / len(kind)
        for seed, kind in enumerate(kinds)
    ]
    below = np.cumsum(shares[1], axis=1) - shares[1]
    resampled = (shares[0] * (below + shares[1] / 2)).sum(axis=1)
    return Figure(float(roc_auc_score(real, rating)), interval(resampled))


def pooled_accuracy(right: np.ndarray, real: np.ndarray | None = None) -> Figure:
    """Share of right answers of several readers to the same images or pairs.

    Args:
        right: N x R bool, image by reader.
        real: N bool, to resample real and synthetic images each by themselves; None: pairs.
    """
    by_image = right.mean(axis=1)
    kinds = [by_image] if real is None else [kind for kind in (by_image[real], by_image[~real]) if len(kind)]
    sums = sum(bootstrap_weights(len(kind), DRAWS, seed) @ kind for seed, kind in enumerate(kinds))
    return Figure(float(right.mean()), interval(np.asarray(sums) / len(by_image)))


def fleiss_kappa(called_real: np.ndarray) -> Figure:
    """Agreement of several readers beyond chance: 1 = they say the same of every image, 0 = as chance has it.

    Args:
        called_real: N x R bool, image by reader, R at least 2.

    Source: Fleiss, Psychol. Bull. 76, 1971. NaN if all answers are the same; the interval resamples images.
    """
    real_answers = called_real.sum(axis=1)
    if not len(called_real) or called_real.shape[1] < 2:
        return Figure(math.nan, UNDEFINED)
    resampled = _kappa(bootstrap_weights(len(real_answers), DRAWS, 0), real_answers, called_real.shape[1])
    value = float(_kappa(np.ones((1, len(real_answers))), real_answers, called_real.shape[1])[0])
    return Figure(value, UNDEFINED if np.isnan(resampled).all() else interval(resampled))


def p_of_labels(real: np.ndarray, called_real: np.ndarray) -> float:
    """Two-sided p of the hypothesis that real and synthetic images appear alike, over all readers.

    If they do, which images are real has nothing to do with the answers, and every choice of so many images as the
    real ones is as likely. The statistic is the number of right answers, i.e. an accuracy of 50 % of balanced images.
    Its distribution is exact, and with one reader this is Fisher's exact test; beyond MOST_STEPS it is the normal one
    with a continuity correction (Hajek, Publ. Math. Inst. Hung. Acad. Sci. 5, 1960).

    Args:
        real: N bool.
        called_real: N x R bool, image by reader.
    """
    answers = called_real.sum(axis=1)
    # ways[k, s]: probability that k of the images so far are the real ones and were called real s times
    chosen, most = int(real.sum()), int(answers.sum())
    if len(answers) * (chosen + 1) * (most + 1) > MOST_STEPS:
        return _normal_p_of_labels(real, answers)
    ways = np.zeros((chosen + 1, most + 1))
    ways[0, 0] = 1.0
    for number, times in enumerate(answers):
        taken = np.zeros_like(ways)
        taken[1:, times:] = ways[:-1, : most + 1 - times]
        left = (chosen - np.arange(chosen + 1))[:, None] / (len(answers) - number)
        ways = ways * np.clip(1 - left, 0, 1) + taken * np.clip(left + 1 / (len(answers) - number), 0, 1)
    sums = np.arange(most + 1)
    expected = chosen * most / len(answers)
    return _two_sided(sums, ways[chosen], expected, int(answers[real].sum()))


def _normal_p_of_labels(real: np.ndarray, answers: np.ndarray) -> float:
    """The same from the mean and variance of a sum that is drawn without replacement."""
    images, chosen = len(answers), int(real.sum())
    variance = chosen * (images - chosen) / images * float(answers.var(ddof=1))
    if not variance:
        return 1.0
    expected = chosen * float(answers.mean())
    off, tolerance = abs(int(answers[real].sum()) - expected), 1e-9
    # The nearest whole numbers that are as far from what is expected, each with the half step towards it
    below, above = math.floor(expected - off + tolerance) + 0.5, math.ceil(expected + off - tolerance) - 0.5
    tails = norm.cdf([below - expected, expected - above], scale=math.sqrt(variance))
    return float(min(1.0, tails.sum()))


def p_of_pairs(right: np.ndarray) -> float:
    """Two-sided p of the hypothesis that the images of a pair appear alike, over all readers.

    If they do, the other image of each pair might as well have been the real one, which makes that pair's wrong answers
    right. The distribution of the right answers is exact; with one reader this is the binomial test.

    Args:
        right: N x R bool, pair by reader.
    """
    pairs, readers = right.shape
    chances = np.ones(1)
    for correct in right.sum(axis=1):
        one = np.zeros(readers + 1)
        one[correct] += 0.5
        one[readers - correct] += 0.5
        chances = np.convolve(chances, one)
    return _two_sided(np.arange(len(chances)), chances, pairs * readers / 2, int(right.sum()))


def _two_sided(values: np.ndarray, chances: np.ndarray, expected: float, got: float) -> float:
    as_far = np.abs(values - expected) >= abs(got - expected) - 1e-9
    return float(min(1.0, chances[as_far].sum()))


def _kappa(weights: np.ndarray, answers: np.ndarray, readers: int) -> np.ndarray:
    """Fleiss' kappa of resamples; weights: B x N."""
    images = weights.sum(axis=1)
    same = (answers * (answers - 1) + (readers - answers) * (readers - answers - 1)) / (readers * (readers - 1))
    observed, called_real = weights @ same / images, weights @ answers / (images * readers)
    by_chance = called_real**2 + (1 - called_real) ** 2
    return np.divide(observed - by_chance, 1 - by_chance, out=np.full(len(images), np.nan), where=by_chance < 1 - 1e-12)


def _variance_of_z(rate: float, of: int) -> float:
    return rate * (1 - rate) / (of * float(norm.pdf(norm.ppf(rate))) ** 2)


def _normal(value: float, variance: float) -> Figure:
    reach = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt(variance)
    return Figure(value, Interval(value - reach, value + reach))
