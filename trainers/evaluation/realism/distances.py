"""How far two sets of slices lie apart in features: kernel and Frechet distance, and who covers whom."""

from __future__ import annotations

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

from trainers.evaluation.realism.report import Overlap, Spread


def kernel_distance(real: np.ndarray, other: np.ndarray, subset: int, subsets: int, seed: int) -> Spread:
    """Unbiased squared maximum mean discrepancy with the kernel (x y / D + 1)^3 (KID, Binkowski et al. 2018).

    Args:
        real, other: N x D and M x D.
        subset: slices of each side in one estimate; at most half of the smaller side, so that estimates differ.
        subsets: estimates.

    Returns:
        Mean and standard deviation of the estimates; equal distributions give 0 on average, so it may be negative.
    """
    draw = np.random.default_rng([seed, 1])
    n = max(2, min(subset, min(len(real), len(other)) // 2))
    within_real, within_other, across = _kernel(real, real), _kernel(other, other), _kernel(real, other)
    values = []
    for _ in range(subsets):
        a, b = draw.permutation(len(real))[:n], draw.permutation(len(other))[:n]
        own = [k[np.ix_(i, i)] for k, i in ((within_real, a), (within_other, b))]
        same = sum((k.sum() - np.trace(k)) / (n * (n - 1)) for k in own)
        values.append(same - 2 * across[np.ix_(a, b)].mean())
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)))


def frechet_distance(real: np.ndarray, other: np.ndarray) -> float | None:
    """Squared Frechet distance of two normal distributions fitted to features (FID, Heusel et al. 2017).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); the last trace is that of (C1^(1/2) C2 C1^(1/2))^(1/2), whose
    eigenvalues are real.

    Returns:
        None where a side has fewer slices than its covariance has dimensions + 1: a covariance without full rank
        makes the distance a statement on the number of slices.
    """
    if min(len(real), len(other)) < real.shape[1] + 1:
        return None
    first, second = np.atleast_2d(np.cov(real, rowvar=False)), np.atleast_2d(np.cov(other, rowvar=False))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    gap = real.mean(axis=0) - other.mean(axis=0)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * shared)


def overlap(real: np.ndarray, other: np.ndarray, precision_k: int, density_k: int) -> Overlap:
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Each ball reaches to the k-th nearest neighbour within its own set; k is lowered to the number of neighbours.
    """
    across = euclidean_distances(real, other)
    own_real, own_other = (np.sort(euclidean_distances(features), axis=1) for features in (real, other))

    def radius(own: np.ndarray, k: int) -> np.ndarray:
        return own[:, min(k, own.shape[1] - 1)]  # column 0 is the slice itself

    reach = radius(own_real, density_k)[:, None]
    k = min(density_k, len(real) - 1)
    return Overlap(
        precision=float((across < radius(own_real, precision_k)[:, None]).any(axis=0).mean()),
        recall=float((across < radius(own_other, precision_k)[None]).any(axis=1).mean()),
        density=float((across < reach).sum() / (k * across.shape[1])),
        coverage=float((across.min(axis=1, keepdims=True) < reach).mean()),
    )


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3
