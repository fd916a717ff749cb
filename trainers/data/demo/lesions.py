"""Enhancing metastases: how many, how large, where, how bright, and how they look.

Numbers: place after Hwang 1996 (64 % at the border of grey and white matter), contrast in the range of Kato 2009
(lesion against brain 38 to 57 % on average). Sizes are larger than the clinical median of 4 to 5 mm, because at the
`laptop` fidelity a pixel is 1.4 to 2.7 mm wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import ndtri

from trainers.data.demo.tissue import Box, Region

_AT_JUNCTION = 0.64
_COUNT_SIGMA = 0.6
_DIAMETER_SIGMA = 0.45
_EDGE_MM = 0.45
_RING_FROM_MM = 10.0
_RING_SHARE = 0.6


@dataclass(frozen=True)
class Lesion:
    """One lesion on the grid of 1 mm; `occupancy` covers `box` only."""

    box: Box
    occupancy: np.ndarray
    """Float32, 0 to 1: the share of a voxel that the lesion fills."""
    diameter_mm: float
    contrast: float
    """(lesion - brain) / brain in its enhancing part."""


def draw_count(median: float, number: int, seed: int) -> int:
    """How many lesions patient `number` has: log-normal, 1 to 25.

    The patients of a cohort step evenly through the distribution instead of drawing from it, so that no split of a
    small cohort is left with hardly any lesion: the paper's split, too, is balanced by lesion count.
    """
    golden, plastic = 0.6180339887, 0.7548776662
    share = (0.3 + golden * number + plastic * seed) % 1
    return int(np.clip(np.round(median * np.exp(_COUNT_SIGMA * ndtri(share))), 1, 25))


def add_lesions(
    image: np.ndarray,
    depth: np.ndarray,
    regions: np.ndarray,
    count: int,
    median_mm: float,
    strength: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, list[Lesion]]:
    """Draw lesions into a brain on a 1 mm grid.

    Args:
        image: X x Y x Z float32, white matter 1.
        depth: X x Y x Z float32, mm inside the brain; a lesion ends where the brain ends.
        regions: X x Y x Z uint8 of `Region`.
        count: how many; fewer where no room is left.
        median_mm: median diameter.
        strength: how strongly lesions enhance on this scanner, 1 is usual.

    Returns:
        The brain with lesions, X x Y x Z float32, and the lesions; two lesions never overlap.
    """
    image = image.copy()
    taken = np.zeros(image.shape, dtype=bool)
    junction = np.argwhere(regions == Region.JUNCTION)
    tissue = np.argwhere((regions == Region.JUNCTION) | (regions == Region.TISSUE))
    lesions: list[Lesion] = []
    for _ in range(count):
        diameter = float(np.clip(median_mm * np.exp(rng.normal(0, _DIAMETER_SIGMA)), 4, 30))
        places = junction if rng.random() < _AT_JUNCTION else tissue
        centre = _free_place(places, taken, diameter / 2, rng)
        if centre is not None:
            lesion = _draw(image, depth, centre, diameter, strength, rng)
            taken[lesion.box] |= lesion.occupancy > 0.05
            lesions.append(lesion)
    return image, lesions


def _free_place(
    places: np.ndarray, taken: np.ndarray, radius: float, rng: np.random.Generator, tries: int = 30
) -> np.ndarray | None:
    """A place whose surroundings hold no other lesion; None when `tries` random places are all taken."""
    reach = int(np.ceil(radius + 3))
    for place in places[rng.integers(len(places), size=tries)]:
        around = tuple(slice(max(0, c - reach), c + reach + 1) for c in place)
        if not taken[around].any():
            return place
    return None


def _draw(
    image: np.ndarray, depth: np.ndarray, centre: np.ndarray, diameter: float, strength: float, rng: np.random.Generator
) -> Lesion:
    """Draw one lesion into `image` in place."""
    radius = diameter / 2
    reach = int(np.ceil(radius * 1.5 + 6))
    box = (
        slice(max(0, int(centre[0]) - reach), int(centre[0]) + reach + 1),
        slice(max(0, int(centre[1]) - reach), int(centre[1]) + reach + 1),
        slice(max(0, int(centre[2]) - reach), int(centre[2]) + reach + 1),
    )
    around = image[box]
    distance = _bumpy_distance(around.shape, [c - s.start for c, s in zip(centre, box, strict=True)], radius, rng)
    contrast = float(np.clip(0.62 * np.exp(rng.normal(0, 0.4)), 0.3, 1.5)) * strength
    whole = _filled(distance, radius, _EDGE_MM) * np.clip(depth[box] + 0.5, 0, 1)
    background = float(np.median(around[distance < max(radius, 1.5)]))
    background = max(background, 0.7)
    level = np.full(around.shape, background * (1 + contrast))
    if diameter > _RING_FROM_MM and rng.random() < _RING_SHARE:
        core = _filled(distance, radius - rng.uniform(1.6, 3.2), 0.7)
        level += core * (rng.uniform(0.4, 0.7) - level)
    oedema = rng.uniform(0, 0.14) if diameter > 6 else 0.0
    halo = oedema * np.exp(-((np.maximum(distance - radius, 0) / (0.8 * radius)) ** 2))
    texture = 1 + 0.05 * ndimage.gaussian_filter(rng.normal(size=around.shape), 0.8) / 0.2
    image[box] = around * (1 - halo) * (1 - whole) + level * texture * whole
    return Lesion(box, whole.astype(np.float32), diameter, contrast)


def _bumpy_distance(shape: tuple[int, ...], centre: list[int], radius: float, rng: np.random.Generator) -> np.ndarray:
    """Distance to the centre in mm, stretched by axis and dented smoothly, so that no lesion is a ball."""
    axes = np.meshgrid(*[np.arange(n) - c for n, c in zip(shape, centre, strict=True)], indexing="ij")
    distance = np.sqrt(sum((axis * f) ** 2 for axis, f in zip(axes, rng.uniform(0.85, 1.15, 3), strict=True)))
    dents = ndimage.gaussian_filter(rng.normal(size=shape), max(1.5, radius / 2))
    return distance * (1 + 0.12 * dents / dents.std())


def _filled(distance: np.ndarray, radius: float, edge: float) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip((distance - radius) / edge, -30, 30)))
