"""MS-SSIM against a plain version, and the sliced Wasserstein distance on textures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from trainers.evaluation.realism.similarity import SCALE_WEIGHTS, draw_pairs, likeness, ms_ssim, sliced_wasserstein


def plain_ms_ssim(a: np.ndarray, b: np.ndarray, scales: int) -> float:
    """Wang, Simoncelli and Bovik's formula with scipy's filters."""
    at = np.arange(-5, 6)
    kernel = np.exp(-(at**2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        return ndimage.convolve(ndimage.convolve(image, kernel[:, None]), kernel[None])[5:-5, 5:-5]

    a, b = a.astype(float), b.astype(float)
    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    c1, c2, result = 2.55**2, 7.65**2, 1.0
    for scale, weight in enumerate(weights):
        mean_a, mean_b = blur(a), blur(b)
        variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
        term = (2 * (blur(a * b) - mean_a * mean_b) + c2) / (variances + c2)
        if scale == scales - 1:
            term = term * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        result *= max(term.mean(), 0) ** weight
        if scale < scales - 1:
            a, b = (one.reshape(one.shape[0] // 2, 2, one.shape[1] // 2, 2).mean(axis=(1, 3)) for one in (a, b))
    return float(result)


@pytest.mark.parametrize(("size", "scales"), [(16, 1), (64, 3), (176, 5)])
def test_ms_ssim_is_that_of_the_formula_on_as_many_scales_as_fit(size: int, scales: int) -> None:
    draw = np.random.default_rng(0)
    first = np.stack([ndimage.gaussian_filter(draw.uniform(0, 255, (size, size)), 3) for _ in range(3)])
    first = (255 * (first - first.min()) / np.ptp(first)).astype(np.uint8)
    second = np.clip(first + draw.normal(0, 25, first.shape), 0, 255).astype(np.uint8)
    wanted = [plain_ms_ssim(a, b, scales) for a, b in zip(first, second, strict=True)]
    assert ms_ssim(first, second) == pytest.approx(wanted)
    assert ms_ssim(first, first) == pytest.approx(1)
    assert max(wanted) < 0.95


def test_likeness_tells_collapse() -> None:
    draw = np.random.default_rng(0)
    many = draw.integers(0, 256, (20, 32, 32)).astype(np.uint8)
    one = np.clip(many[:1] + draw.normal(0, 5, many.shape), 0, 255).astype(np.uint8)
    pairs = draw_pairs(np.arange(20), 100, seed=0)
    collapsed, honest = (likeness(images, pairs, np.arange(20)) for images in (one, many))
    assert collapsed.low > 0.9 > 0.1 > honest.high


def test_interval_of_the_likeness_holds_though_pairs_share_slices_and_patients() -> None:
    """20 patients of 3 slices from one recipe: bounds cover the mean that many patients give."""
    head = np.random.default_rng(0).normal(size=(16, 16))

    def drawn(patients: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        likeness_to_head = draw.uniform(0, 2, (patients, 1, 1, 1))
        slices = likeness_to_head * head + draw.normal(size=(patients, 1, 16, 16)) + draw.normal(0, 0.2, (1, 3, 1, 1))
        pixels = np.clip(128 + 40 * slices, 0, 255).astype(np.uint8).reshape(-1, 16, 16)
        return pixels, np.repeat(np.arange(patients), 3)

    many, patients = drawn(500, 1)
    truth = likeness(many, draw_pairs(patients, 8000, 0), patients).mean
    covered = []
    for seed in range(60):
        images, groups = drawn(20, seed + 2)
        found = likeness(images, draw_pairs(groups, 400, seed), groups)
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) > 0.83


def test_pairs_are_of_different_groups() -> None:
    groups = np.array(["a"] * 50 + ["b"])
    pairs = draw_pairs(groups, 40, seed=0)
    assert pairs.shape == (40, 2)
    assert (groups[pairs[:, 0]] != groups[pairs[:, 1]]).all()


def test_sliced_wasserstein_sees_texture_at_every_scale() -> None:
    draw = np.random.default_rng(0)

    def textures(sigma: float, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=(60, 64, 64))
        smooth = np.stack([ndimage.gaussian_filter(one, sigma) for one in noise])
        return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)

    real = textures(2, 1)
    alike = sliced_wasserstein(real, textures(2, 2), 128, 64, 0)
    fine, coarse = (sliced_wasserstein(real, textures(sigma, 3), 128, 64, 0) for sigma in (1, 4))
    assert min(fine, coarse) > 2 * alike
    noisy = np.clip(real + draw.normal(0, 15, real.shape), 0, 255).astype(np.uint8)
    assert sliced_wasserstein(real, noisy, 128, 64, 0) > 2 * alike
