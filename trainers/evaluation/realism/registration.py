"""Distances between slices that do not see where in its frame a brain lies, how large it is, and how it is mirrored.

A generator is trained on mirrored slices and asked for boxes that are mirrored, shifted and zoomed, so what it has
learnt by heart it gives back mirrored, shifted and zoomed. Every slice is therefore brought to one place and size by
the moments of its brain, and its distance to another is the least over mirrorings and small further shifts and zooms,
which make up for a brain that the frame cuts or whose moments are a little off.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch.nn import functional

from trainers.evaluation.realism.extractor import PIXELS, Extractor

RADIUS = 0.25
"""Root mean square distance of a brain's pixels from their centre, as a share of the slice's side."""
LARGEST = 64
"""Larger slices are shrunk to this side first: fine enough to recognise copies; 256 pixels take four times as long."""
MIRRORS = (1.0, -1.0)
ZOOMS = (1.0, 0.96, 1.04)
SHIFTS = (0.0, -0.03, 0.03)
"""In shares of the slice's side: about a pixel of 32."""
AT_ONCE = 256
"""Slices computed at once: bounds the memory."""


def normalised(
    images: np.ndarray, mirror: float = 1.0, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Move and zoom slices so that the brain's centre is the slice's and its size is the same in all.

    Args:
        images: N x S x S uint8.
        mirror: -1 also mirrors left-right.
        zoom: further magnification.
        shift: further shift (right, down), shares of the side.

    Returns:
        N x T x T uint8, T = min(S, 64), bilinear, black outside; a slice without a brain stays where it is.
    """
    side = min(images.shape[1], LARGEST)
    pixels = functional.adaptive_avg_pool2d(torch.from_numpy(np.ascontiguousarray(images))[:, None].float(), side)
    centre, radius = _moments(pixels)
    scale = radius / RADIUS / zoom
    places = torch.zeros(len(images), 2, 3)
    places[:, 0, 0], places[:, 1, 1] = mirror * scale, scale
    # In the units of affine_grid a side is 2 long.
    places[:, :, 2] = 2 * (centre - scale[:, None] * torch.tensor([mirror * shift[0], shift[1]]))
    grid = functional.affine_grid(places, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False)[:, 0].round().byte().numpy()


def aligned_distances(images: np.ndarray, others: np.ndarray, extract: Extractor) -> np.ndarray:
    """Least distance in features of each slice to each of others, over mirrorings, shifts and zooms of the first.

    Args:
        images: M x S x S uint8.
        others: N x D, features of slices that are `normalised`.

    Returns:
        M x N float32.
    """
    centre = others.mean(axis=0)
    reference = torch.from_numpy(others - centre)
    squares = (reference**2).sum(dim=1)
    squared_distances = torch.full((len(images), len(others)), torch.inf)
    for start in range(0, len(images), AT_ONCE):
        part = images[start : start + AT_ONCE]
        least = squared_distances[start : start + AT_ONCE]
        for mirror, zoom, right, down in itertools.product(MIRRORS, ZOOMS, SHIFTS, SHIFTS):
            view = torch.from_numpy(extract(normalised(part, mirror, zoom, (right, down))) - centre)
            squared = torch.addmm(squares, view, reference.T, alpha=-2).add_((view**2).sum(dim=1)[:, None])
            torch.minimum(least, squared, out=least)
    return squared_distances.clamp_(min=0).sqrt_().numpy()


def _moments(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre (x, y) N x 2, from the slice's, and root mean square radius N of the brain, in shares of the side.

    The brain is what is at least half as bright as the mean of the pixels above the mean, after shrinking, which
    takes noise away.
    """
    small = functional.adaptive_avg_pool2d(pixels, PIXELS)[:, 0]
    above = small > small.mean(dim=(1, 2), keepdim=True)
    level = (small * above).sum(dim=(1, 2)) / above.sum(dim=(1, 2)).clamp(min=1)
    brain = (small >= level[:, None, None] / 2) & (level > 0)[:, None, None]
    area = brain.sum(dim=(1, 2)).clamp(min=1)
    at = (torch.arange(PIXELS) + 0.5) / PIXELS - 0.5
    by_column, by_row = brain.sum(dim=1).float(), brain.sum(dim=2).float()
    centre = torch.stack([by_column @ at, by_row @ at], dim=1) / area[:, None]
    variance = (by_column @ at**2 + by_row @ at**2) / area - (centre**2).sum(dim=1)
    radius = torch.where(variance > 0, variance.clamp(min=0).sqrt(), RADIUS)
    return centre, radius
