"""Likeness of slices in pixels: MS-SSIM of pairs, and the sliced Wasserstein distance of patches."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from trainers.evaluation.realism.report import Likeness

WINDOW, SIGMA = 11, 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Wang et al. 2003; the finest scale first."""
PATCH = 7
SMALLEST_LEVEL = 16
"""Side in pixels of the coarsest level of a pyramid."""
AT_ONCE = 64
"""Pairs, or directions, computed at once: bounds the memory."""


def ms_ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Multi-scale structural similarity of pairs of slices (Wang, Simoncelli and Bovik 2003).

    Five scales need slices of 176 pixels. Smaller ones are compared on as many of the finest scales as leave a slice no
    smaller than the 11 pixels of the window (three for 64 pixels), whose weights are scaled to sum 1.

    Args:
        first, second: N x S x S uint8, S at least 11.

    Returns:
        N float64; negative terms count as 0.
    """
    scales = sum(first.shape[1] // 2**i >= WINDOW for i in range(len(SCALE_WEIGHTS)))
    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    parts = [
        _ms_ssim(_pixels(first[i : i + AT_ONCE]), _pixels(second[i : i + AT_ONCE]), weights)
        for i in range(0, len(first), AT_ONCE)
    ]
    return np.concatenate(parts)


def likeness(images: np.ndarray, pairs: np.ndarray, groups: np.ndarray) -> Likeness:
    """Mean MS-SSIM of pairs of slices.

    Pairs that share a group are not independent: the mean's variance counts the covariance of all those that do
    (Fafchamps and Gubert 2007), and is no smaller than if they were.

    Args:
        images: N x S x S uint8.
        pairs: P x 2 positions, P at least 2; the two of a pair are of different groups.
        groups: N, which slices depend on each other (e.g. patients); their positions if none do.
    """
    values = ms_ssim(images[pairs[:, 0]], images[pairs[:, 1]])
    mean = float(values.mean())
    _, group = np.unique(groups, return_inverse=True)
    which, dyad = np.unique(np.sort(group[pairs], axis=1), axis=0, return_inverse=True)
    by_dyad = np.bincount(dyad.ravel(), values - mean)
    by_group = np.bincount(which.ravel(), np.repeat(by_dyad, 2))
    alone = float((by_dyad**2).sum())
    reach = 1.96 * np.sqrt(max(float((by_group**2).sum()) - alone, alone)) / len(values)
    return Likeness(mean, mean - reach, mean + reach)


def draw_pairs(groups: np.ndarray, pairs: int, seed: int) -> np.ndarray:
    """Pairs of positions from different groups (e.g. patients), drawn at random.

    Args:
        groups: the group of each position; at least two groups.

    Returns:
        `pairs` x 2 int64; a pair may occur again.
    """
    draw = np.random.default_rng([seed, 2])
    kept = np.zeros((0, 2), dtype=np.int64)
    while len(kept) < pairs:
        drawn = draw.integers(len(groups), size=(4 * pairs, 2))
        kept = np.concatenate([kept, drawn[groups[drawn[:, 0]] != groups[drawn[:, 1]]]])
    return kept[:pairs]


def sliced_wasserstein(real: np.ndarray, other: np.ndarray, patches: int, projections: int, seed: int) -> float:
    """Sliced Wasserstein distance of patches, mean over the levels of a Laplacian pyramid (Karras et al. 2018).

    From each level (full size down to 16 pixels, by area average) `patches` patches of 7 x 7 pixels per slice are
    drawn, shifted and scaled to mean 0 and standard deviation 1 within each set, and projected onto random directions;
    the distance of the sorted projections is averaged, and multiplied by 1000 as there. Low: alike at all scales.

    Args:
        real, other: N x S x S uint8, equally many of the same size.
    """
    draw = np.random.default_rng([seed, 3])
    distances = []
    for a, b in zip(_pyramid(real), _pyramid(other), strict=True):
        corners = draw.integers(a.shape[1] - PATCH + 1, size=(2, len(a) * patches, 2))
        sets = [_descriptors(level, at, patches) for level, at in zip((a, b), corners, strict=True)]
        directions = draw.normal(size=(projections, PATCH**2)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        total = 0.0
        for i in range(0, projections, AT_ONCE):
            of_real, of_other = (np.sort(directions[i : i + AT_ONCE] @ descriptors.T, axis=1) for descriptors in sets)
            total += float(np.abs(of_real - of_other).mean(axis=1).sum())
        distances.append(1000 * total / projections)
    return float(np.mean(distances))


def _ms_ssim(first: torch.Tensor, second: torch.Tensor, weights: np.ndarray) -> np.ndarray:
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    result = torch.ones(len(first), dtype=torch.float64)
    for scale, weight in enumerate(weights):
        a, b, aa, bb, ab = (_blurred(images) for images in (first, second, first**2, second**2, first * second))
        structure = (2 * (ab - a * b) + c2) / (aa - a**2 + bb - b**2 + c2)
        last = scale == len(weights) - 1
        luminance = (2 * a * b + c1) / (a**2 + b**2 + c1) if last else 1.0
        result *= (luminance * structure).mean(dim=(1, 2, 3)).clamp(min=0) ** float(weight)
        first, second = (functional.avg_pool2d(images, 2) for images in (first, second))
    return result.numpy()


def _pixels(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images))[:, None].double()


def _blurred(images: torch.Tensor) -> torch.Tensor:
    at = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    kernel = torch.exp(-(at**2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    return functional.conv2d(functional.conv2d(images, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))


def _pyramid(images: np.ndarray) -> list[np.ndarray]:
    """Differences between a slice and its coarser self, level by level, then the coarsest; each n x s x s float32."""
    levels = []
    now = torch.from_numpy(np.ascontiguousarray(images))[:, None].float()
    while now.shape[-1] >= 2 * SMALLEST_LEVEL:
        coarser = functional.avg_pool2d(now, 2)
        back = functional.interpolate(coarser, now.shape[-2:], mode="bilinear", align_corners=False)
        levels.append((now - back)[:, 0].numpy())
        now = coarser
    return [*levels, now[:, 0].numpy()]


def _descriptors(level: np.ndarray, corners: np.ndarray, patches: int) -> np.ndarray:
    """Patches at given corners (y, x), standardised over the set; n x 49 float32."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(1, 2))
    which = np.repeat(np.arange(len(level)), patches)
    drawn = windows[which, corners[:, 0], corners[:, 1]].reshape(len(which), -1)
    return (drawn - drawn.mean()) / max(float(drawn.std()), 1e-12)
