"""Copies are found however a generator moves, zooms and mirrors them; slices of new patients raise no alarm."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from scipy import ndimage

from trainers.evaluation.realism.extractor import shrunk_pixels
from trainers.evaluation.realism.memorisation import RealSlices, examine
from trainers.evaluation.realism.registration import aligned_distances, normalised

SIZE, PATIENTS, SLICES, HELD_OUT = 64, 20, 4, 7


def brains(patients: int, draw: np.random.Generator) -> np.ndarray:
    """Ellipses of random place and size with smooth folds; those of a patient's slices differ a little."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    found = []
    for _ in range(patients):
        y, x = SIZE / 2 + draw.uniform(-3, 3, 2)
        radius = draw.uniform(18, 22)
        brain = ((rows - y) / 1.15) ** 2 + (columns - x) ** 2 < radius**2
        folds = ndimage.gaussian_filter(draw.normal(size=(SIZE, SIZE)), 3)
        for _ in range(SLICES):
            own = folds + 0.3 * ndimage.gaussian_filter(draw.normal(size=(SIZE, SIZE)), 3)
            found.append(brain * np.clip(120 + 40 * own / own.std(), 40, 220))
    return np.array(found).astype(np.uint8)


def moved(images: np.ndarray, mirror: np.ndarray, zoom: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Mirror, zoom about the centre, then shift (down, right; pixels), one of each a slice."""
    middle = (SIZE - 1) / 2
    found = []
    for image, flip, factor, by in zip(images, mirror, zoom, shift, strict=True):
        back = np.array([1, -1 if flip else 1]) / factor
        found.append(ndimage.affine_transform(image.astype(float), back, middle - back * (middle + by), order=1))
    return np.array(found).round().astype(np.uint8)


def as_synthesised(images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The rule of `ConditionConfig`: half mirrored, zoom and shift up to 10 %."""
    n = len(images)
    shift = SIZE * draw.uniform(-0.1, 0.1, (n, 2))
    return moved(images, draw.random(n) < 0.5, draw.uniform(0.9, 1.1, n), shift)


WAYS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "as they are": lambda images, _draw: images,
    "mirrored": lambda images, _draw: images[:, :, ::-1],
    "3 pixels right": lambda images, _draw: np.roll(images, 3, axis=2),
    "larger": lambda images, _draw: moved(
        images, np.zeros(len(images)), np.full(len(images), 1.1), np.zeros((len(images), 2))
    ),
    "by the rule of synthesis": as_synthesised,
    "by the rule, noisy": lambda images, draw: np.clip(
        as_synthesised(images, draw) + draw.normal(0, 8, images.shape), 0, 255
    ).astype(np.uint8),
}


@lru_cache
def trained_on(seed: int) -> tuple[RealSlices, np.ndarray, np.ndarray]:
    """Real slices, what they are compared by, and 40 of the training slices."""
    draw = np.random.default_rng(seed)
    images, patients = brains(PATIENTS, draw), np.repeat(np.arange(PATIENTS), SLICES)
    held_out = np.isin(patients, draw.permutation(PATIENTS)[:HELD_OUT])
    copied = images[draw.choice(np.flatnonzero(~held_out), 40)]
    reference = shrunk_pixels(normalised(images))
    return RealSlices(aligned_distances(images, reference, shrunk_pixels), patients, held_out), reference, copied


@pytest.mark.parametrize("way", WAYS)
def test_copies_are_flagged_however_moved(way: str) -> None:
    for seed in range(3):
        real, reference, copied = trained_on(seed)
        to_real = aligned_distances(WAYS[way](copied, np.random.default_rng(seed + 100)), reference, shrunk_pixels)
        found = examine(real, to_real, 200, seed)
        assert found.leaks
        assert found.close_share > 0.9


def test_false_alarms_about_new_patients_are_as_rare_as_promised() -> None:
    alarms = []
    draw = np.random.default_rng(0)
    images, everyone = as_synthesised(brains(30, draw), draw), np.repeat(np.arange(30), SLICES)
    distances = aligned_distances(images, shrunk_pixels(normalised(images)), shrunk_pixels)
    for seed in range(100):
        order = np.random.default_rng(seed).permutation(30)
        new = np.isin(everyone, order[:6])
        held_out = np.isin(everyone, order[6:14])
        real = RealSlices(distances[np.ix_(~new, ~new)], everyone[~new], held_out[~new])
        alarms.append(examine(real, distances[np.ix_(new, ~new)], 100, seed).leaks)
    assert np.mean(alarms) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


def test_brains_are_brought_to_one_place_and_size() -> None:
    draw = np.random.default_rng(0)
    images = brains(5, draw)
    there = normalised(as_synthesised(images, draw)) > 40
    centres = np.array([ndimage.center_of_mass(one) for one in there])
    assert centres == pytest.approx(np.full_like(centres, (SIZE - 1) / 2), abs=1)
    areas = there.sum(axis=(1, 2))
    assert areas.max() / areas.min() < 1.1
    assert (normalised(images, mirror=-1.0)[:, :, ::-1].astype(int) - normalised(images)).max() <= 1
    right = normalised(images, shift=(0.125, 0.0))
    assert np.abs(right[:, :, 8:].astype(int) - normalised(images)[:, :, :-8]).max() <= 1


def test_a_dark_slice_stays_where_it_is() -> None:
    assert not normalised(np.zeros((1, SIZE, SIZE), np.uint8)).any()
    dot = np.zeros((1, SIZE, SIZE), np.uint8)
    dot[0, 30:32, 30:32] = 200
    assert np.isfinite(aligned_distances(dot, shrunk_pixels(normalised(dot)), shrunk_pixels)).all()


def test_distance_is_to_the_best_view_of_each() -> None:
    images = brains(2, np.random.default_rng(0))
    reference = shrunk_pixels(normalised(images))
    found = aligned_distances(images[:, :, ::-1], reference, shrunk_pixels)
    assert np.diag(found) == pytest.approx(0, abs=0.2)
    straight = np.linalg.norm(reference[:, None] - reference[None], axis=2)
    assert (found[~np.eye(len(found), dtype=bool)] > 0.5).all()
    assert (aligned_distances(images, reference, shrunk_pixels) <= straight + 1e-2).all()
