"""Where in a slice a lesion may lie, and how it may look there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from trainers.data.conditions import BACKGROUND, whole_pixels
from trainers.pasting.config import PlacesConfig
from trainers.pasting.lesions import ALL_NEIGHBOURS, Lesion, bounds

TRIES = 50
"""Places that are tried before a lesion counts as without room."""
GAP = 1
"""Pixels between a lesion with its box and other boxes."""


@dataclass(frozen=True)
class Place:
    """A lesion at a place in a slice."""

    lesion: Lesion
    window: tuple[slice, slice]
    """Rows and columns of the lesion's extent."""
    box: np.ndarray
    """4 float32 (x0, y0, x1, y1), whole pixels."""


def brain_of(image: np.ndarray) -> np.ndarray:
    """The brain of a slice, ventricles included; H x W bool."""
    return ndimage.binary_fill_holes(image > BACKGROUND)  # pyright: ignore[reportReturnType]


def interior_of(brain: np.ndarray) -> np.ndarray:
    """A brain without its outermost pixels; H x W bool."""
    return ndimage.binary_erosion(brain, ALL_NEIGHBOURS)  # pyright: ignore[reportReturnType]


def jittered(lesion: Lesion, config: PlacesConfig, rng: np.random.Generator) -> Lesion:
    """A lesion mirrored, rotated, zoomed and with another contrast; its margins go with it."""
    mirrored = config.mirror and bool(rng.random() < 0.5)
    angle = config.max_rotation * rng.uniform(-1.0, 1.0)
    zoom = 1.0 + config.max_zoom * rng.uniform(-1.0, 1.0)
    gain = 1.0 + config.max_contrast * rng.uniform(-1.0, 1.0)
    quarters = round(angle / 90)
    contrast, extent, margins = lesion.contrast, lesion.extent, lesion.margins
    if mirrored:
        contrast, extent, margins = contrast[:, ::-1], extent[:, ::-1], margins[[2, 1, 0, 3]]
    contrast, extent, margins = np.rot90(contrast, quarters), np.rot90(extent, quarters), np.roll(margins, -quarters)

    # From a pixel of the result to one of the lesion, both counted from the centre: without turn and zoom the pixels
    # coincide and nothing is blurred.
    rest = np.deg2rad(angle - 90 * quarters)
    turn = np.array([[np.cos(rest), -np.sin(rest)], [np.sin(rest), np.cos(rest)]]) / zoom
    shape = np.array(extent.shape)
    target = shape + 2 * (int(zoom * np.hypot(*shape) - shape.min()) // 2 + 1)
    offset: Any = (shape - 1) / 2 - turn @ (target - 1) / 2
    levels, inside = (
        ndimage.affine_transform(values, turn, offset, tuple(target), order=1, mode="grid-constant")
        for values in (gain * contrast, extent.astype(np.float32))
    )
    inside = inside > 0.5
    window, _ = bounds(inside)
    return replace(lesion, contrast=levels[window], extent=inside[window], margins=zoom * margins)


def find_place(lesion: Lesion, brain: np.ndarray, boxes: np.ndarray, rng: np.random.Generator) -> Place | None:
    """A random place where the lesion lies within the brain, and neither it nor its box on other boxes.

    Args:
        brain: H x W bool.
        boxes: n x 4 (x0, y0, x1, y1), the other boxes of the slice.

    Returns:
        The place, or None if TRIES places were none.
    """
    height, width = lesion.extent.shape
    centres = np.argwhere(brain)
    for centre in rng.integers(len(centres), size=TRIES) if len(centres) else ():
        top, left = (centres[centre] - [height // 2, width // 2]).tolist()
        window = np.s_[max(0, top) : top + height, max(0, left) : left + width]
        if brain[window].shape != lesion.extent.shape or not brain[window][lesion.extent].all():
            continue
        covered = np.array([left, top, left + width, top + height], dtype=np.float32)
        (box,) = whole_pixels(covered[None] + lesion.margins * [-1, -1, 1, 1], len(brain))
        low, high = np.minimum(box, covered)[:2] - GAP, np.maximum(box, covered)[2:] + GAP
        if not ((boxes[:, :2] < high) & (boxes[:, 2:] > low)).all(axis=1).any():
            return Place(lesion, window, box)
    return None
