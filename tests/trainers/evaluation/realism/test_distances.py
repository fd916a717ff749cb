"""Distances in features against slow, plain versions of their formulas."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from scipy.linalg import sqrtm

from trainers.evaluation.realism.distances import frechet_distance, kernel_distance, overlap


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)


def kid_by_loops(real: np.ndarray, other: np.ndarray) -> float:
    """Unbiased MMD^2 of equally many points, term by term."""
    n, d = real.shape

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / d + 1) ** 3)

    pairs = [(i, j) for i in range(n) for j in range(n)]
    within = sum(kernel(one[i], one[j]) for one in (real, other) for i, j in pairs if i != j) / (n * (n - 1))
    return within - 2 * sum(kernel(real[i], other[j]) for i, j in pairs) / n**2


def prdc_by_loops(real: np.ndarray, other: np.ndarray, k: int) -> tuple[float, float, float, float]:
    def radius(points: np.ndarray, i: int) -> float:
        return sorted(float(np.linalg.norm(points[i] - one)) for j, one in enumerate(points) if j != i)[k - 1]

    gap = [[float(np.linalg.norm(a - b)) for b in other] for a in real]
    of_real, of_other = ([radius(points, i) for i in range(len(points))] for points in (real, other))
    rows, columns = range(len(real)), range(len(other))
    precision = np.mean([any(gap[i][j] < of_real[i] for i in rows) for j in columns])
    recall = np.mean([any(gap[i][j] < of_other[j] for j in columns) for i in rows])
    density = sum(gap[i][j] < of_real[i] for i in rows for j in columns) / (k * len(other))
    coverage = np.mean([min(gap[i]) < of_real[i] for i in rows])
    return float(precision), float(recall), float(density), float(coverage)


def test_kernel_distance_is_the_unbiased_estimate(draw: np.random.Generator) -> None:
    real, other = draw.normal(size=(6, 3)), draw.normal(0.5, 1, size=(12, 3))
    # Subsets of 3: every estimate is that of its own points, so their mean must be that over all subsets.
    found = kernel_distance(real, other, subset=3, subsets=4000, seed=0)
    subsets = [
        kid_by_loops(real[draw.permutation(6)[:3]], other[draw.permutation(12)[:3]]) for _ in range(4000)
    ]  # fmt: skip
    assert found.mean == pytest.approx(np.mean(subsets), abs=4 * found.sd / np.sqrt(4000) * 2)
    assert found.sd == pytest.approx(np.std(subsets), rel=0.15)


def test_kernel_distance_is_zero_on_average_for_equal_distributions(draw: np.random.Generator) -> None:
    values = [
        kernel_distance(draw.normal(size=(40, 4)), draw.normal(size=(40, 4)), 1000, 5, seed).mean for seed in range(200)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)
    assert kernel_distance(draw.normal(size=(40, 4)), draw.normal(2, 1, size=(40, 4)), 1000, 5, 0).mean > 1


def test_frechet_distance_is_that_of_the_fitted_normals(draw: np.random.Generator) -> None:
    real = draw.normal(size=(50, 5)) @ draw.normal(size=(5, 5))
    other = draw.normal(0.3, 1, size=(40, 5)) @ draw.normal(size=(5, 5))
    a, b = np.cov(real, rowvar=False), np.cov(other, rowvar=False)
    gap = real.mean(axis=0) - other.mean(axis=0)
    wanted = gap @ gap + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet_distance(real, other) == pytest.approx(wanted)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(real, real + 2) == pytest.approx(4 * 5)


def test_frechet_distance_needs_more_slices_than_features(draw: np.random.Generator) -> None:
    assert frechet_distance(draw.normal(size=(5, 5)), draw.normal(size=(50, 5))) is None
    assert frechet_distance(draw.normal(size=(50, 5)), draw.normal(size=(5, 5))) is None
    assert frechet_distance(draw.normal(size=(6, 5)), draw.normal(size=(6, 5))) is not None


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_overlap_is_that_of_the_formulas(draw: np.random.Generator, shift: float) -> None:
    real, other = draw.normal(size=(20, 3)), draw.normal(shift, 0.7, size=(15, 3))
    for k in (1, 3):
        assert astuple(overlap(real, other, k, k)) == pytest.approx(prdc_by_loops(real, other, k))


def test_collapse_costs_recall_and_coverage_not_precision(draw: np.random.Generator) -> None:
    real = draw.normal(size=(200, 2))
    collapsed = overlap(real, 0.05 * draw.normal(size=(200, 2)), 3, 5)
    honest = overlap(real, draw.normal(size=(200, 2)), 3, 5)
    assert collapsed.precision > 0.9
    assert collapsed.recall < 0.1 < honest.recall
    assert collapsed.coverage < 0.2 < 0.8 < honest.coverage
