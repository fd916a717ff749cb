"""The statistics of readers: the paper's Table 2, cells computed by hand, and what scipy and scikit-learn give."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact, norm
from sklearn.metrics import roc_auc_score

from dashboards.reader_study.statistics import (
    Cells,
    area_under_roc,
    d_prime_of_pairs,
    fleiss_kappa,
    p_of_labels,
    p_of_pairs,
    pooled_accuracy,
    share,
)

TABLE2 = {
    ("Test1", "Physician1"): (0.88, 40, 10, 2, 48),
    ("Test1", "Physician2"): (0.95, 45, 5, 0, 50),
    ("Test1", "Physician3"): (0.97, 49, 1, 2, 48),
    ("Test2", "Physician1"): (0.81, 39, 11, 8, 42),
    ("Test2", "Physician2"): (0.83, 43, 7, 10, 40),
    ("Test2", "Physician3"): (0.91, 45, 5, 4, 46),
    ("Test3", "Physician1"): (0.97, 47, 3, 0, 50),
    ("Test3", "Physician2"): (0.96, 46, 4, 0, 50),
    ("Test3", "Physician3"): (1.00, 50, 0, 0, 50),
    ("Test4", "Physician1"): (0.91, 41, 9, 0, 50),
    ("Test4", "Physician2"): (0.96, 48, 2, 2, 48),
    ("Test4", "Physician3"): (1.00, 50, 0, 0, 50),
}
"""Accuracy, real as real, real as synthetic, synthetic as real, synthetic as synthetic."""


def answers_of(cells: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image is real, and whether it was called real."""
    real = np.repeat([True, True, False, False], cells)
    return real, np.repeat([True, False, True, False], cells)


@pytest.mark.parametrize("row", TABLE2)
def test_rows_of_table_2(row: tuple[str, str]) -> None:
    accuracy, *counts = TABLE2[row]
    cells = Cells.of(*answers_of((counts[0], counts[1], counts[2], counts[3])))
    assert cells == Cells(*counts)
    assert round(cells.accuracy.value, 2) == accuracy
    low, high = cells.accuracy.interval
    wilson = binomtest(cells.correct, 100).proportion_ci(0.95, "wilson")
    assert (low, high) == (wilson.low, wilson.high)
    assert low < accuracy <= high
    assert cells.d_prime.interval.low > 0, "each physician can distinguish them"


def test_d_prime_by_hand() -> None:
    # (40.5 / 51 called real of the real images, 2.5 / 51 of the synthetic ones): z = 0.8208 and -1.6546 in the tables
    figure = Cells(40, 10, 2, 48).d_prime
    assert figure.value == pytest.approx(0.8208 + 1.6546, abs=2e-3)
    hits, alarms = 40.5 / 51, 2.5 / 51
    variance = sum(p * (1 - p) / (51 * norm.pdf(norm.ppf(p)) ** 2) for p in (hits, alarms))
    assert figure.interval.high - figure.value == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)
    assert Cells(25, 25, 25, 25).d_prime.value == pytest.approx(0)
    assert Cells(50, 0, 0, 50).d_prime.value == pytest.approx(2 * norm.ppf(50.5 / 51))
    assert math.isnan(Cells(3, 0, 0, 0).d_prime.value)


def test_d_prime_of_pairs_by_hand() -> None:
    # 76 of 100: (76.5 / 101) has z = 0.698; times the square root of 2
    assert d_prime_of_pairs(76, 100).value == pytest.approx(math.sqrt(2) * 0.698, abs=2e-3)
    assert d_prime_of_pairs(50, 100).value == pytest.approx(0)
    assert math.isnan(d_prime_of_pairs(0, 0).value)


def test_kappa_by_hand() -> None:
    # Three readers, four images, called real 3, 2, 1 and 0 times: agreeing pairs (1 + 1/3 + 1/3 + 1) / 4 = 2/3, by
    # chance 1/2.
    called = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)
    assert fleiss_kappa(called).value == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))
    assert fleiss_kappa(np.array([[1, 1], [0, 0]], dtype=bool)).value == 1
    assert fleiss_kappa(np.array([[1, 0], [0, 1]], dtype=bool)).value == -1
    assert math.isnan(fleiss_kappa(np.ones((4, 2), dtype=bool)).value), "all say the same of everything"
    assert math.isnan(fleiss_kappa(called[:, :1]).value), "a single reader agrees with no other"
    low, high = fleiss_kappa(np.tile(called, (25, 1))).interval
    assert 0 < low < 1 / 3 < high < 0.6


@pytest.mark.parametrize("cells", [(40, 10, 2, 48), (26, 24, 22, 28), (3, 0, 0, 3)])
def test_pooled_test_of_one_reader_is_fishers(cells: tuple[int, int, int, int]) -> None:
    real, called = answers_of(cells)
    table = np.array(cells).reshape(2, 2)
    _, p = fisher_exact(table)
    assert p_of_labels(real, called[:, None]) == pytest.approx(p, rel=1e-6)


def test_pooled_test_of_several_readers_is_every_choice_of_real_images() -> None:
    draw = np.random.default_rng(0)
    real = np.array([True] * 4 + [False] * 3)
    called = draw.random((7, 3)) < 0.5
    times = called.sum(axis=1)
    got, expected = times[real].sum(), 4 * times.sum() / 7
    sums = [times[list(chosen)].sum() for chosen in itertools.combinations(range(7), 4)]
    as_far = np.mean([abs(one - expected) >= abs(got - expected) - 1e-9 for one in sums])
    assert p_of_labels(real, called) == pytest.approx(as_far)


@pytest.mark.parametrize("seed", range(3))
def test_pooled_test_of_many_images_is_about_the_exact_one(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    draw = np.random.default_rng(seed)
    real = np.repeat([True, False], [60, 40])
    called = draw.random((100, 3)) < np.where(real, 0.52 + 0.03 * seed, 0.48)[:, None]
    exact = p_of_labels(real, called)
    monkeypatch.setattr("dashboards.reader_study.statistics.MOST_STEPS", 0)
    assert p_of_labels(real, called) == pytest.approx(exact, rel=0.03)
    assert p_of_labels(real, np.ones((100, 2), dtype=bool)) == 1


def test_the_largest_study_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 real and 5,000 synthetic images and ten readers: the exact test would take hours and gigabytes."""
    draw = np.random.default_rng(0)
    real = np.repeat([True, False], 5000)
    called = draw.random((10000, 10)) < np.where(real, 0.51, 0.49)[:, None]
    assert p_of_labels(real, called) < 0.001
    monkeypatch.setattr("dashboards.reader_study.statistics.DRAWS", 50)
    area = area_under_roc(real, draw.integers(-5, 6, 10000))
    assert area.interval.low < area.value < area.interval.high


def test_readers_who_copy_each_other_prove_no_more_than_one() -> None:
    real, called = answers_of((30, 20, 20, 30))
    alone, copied = p_of_labels(real, called[:, None]), p_of_labels(real, np.tile(called[:, None], 3))
    assert alone == pytest.approx(copied)
    assert binomtest(180, 300).pvalue < 0.001 < 0.05 < copied, "what counting every answer would claim"


def test_pairs() -> None:
    right = np.repeat([True, False], [60, 40])
    assert p_of_pairs(right[:, None]) == pytest.approx(binomtest(60, 100).pvalue)
    assert p_of_pairs(np.tile(right[:, None], 4)) == pytest.approx(p_of_pairs(right[:, None]))
    three = np.random.default_rng(1).random((5, 3)) < 0.7
    times = three.sum(axis=1)
    sums = [sum(one) for one in itertools.product(*[(time, 3 - time) for time in times])]
    as_far = np.mean([abs(one - 7.5) >= abs(times.sum() - 7.5) for one in sums])
    assert p_of_pairs(three) == pytest.approx(as_far)


def test_area_under_roc() -> None:
    draw = np.random.default_rng(2)
    real = np.repeat([True, False], 50)
    rating = np.where(real, draw.integers(-3, 6, 100), draw.integers(-5, 4, 100))
    figure = area_under_roc(real, rating)
    assert figure.value == roc_auc_score(real, rating)
    # Hanley and McNeil's standard error, of about the same width
    area, pairs = figure.value, 50
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (pairs - 1) * (first + second - 2 * area**2)
    assert figure.interval.high - figure.interval.low == pytest.approx(3.92 * math.sqrt(variance) / pairs, rel=0.15)
    assert area_under_roc(real, np.zeros(100)).value == 0.5
    assert math.isnan(area_under_roc(real[:50], rating[:50]).value)


def test_pooled_accuracy_resamples_images_not_answers() -> None:
    draw = np.random.default_rng(3)
    real, right = np.repeat([True, False], 50), draw.random(100) < 0.7
    alone, copied = (pooled_accuracy(np.tile(right[:, None], readers), real) for readers in (1, 5))
    assert alone == copied
    assert alone.value == right.mean()
    assert alone.interval.low < alone.value < alone.interval.high
    low, high = share(int(right.sum()), 100).interval
    assert alone.interval.high - alone.interval.low == pytest.approx(high - low, rel=0.15)
