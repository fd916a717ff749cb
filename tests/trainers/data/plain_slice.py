"""A slice as a plain loop makes it: no crop to whole voxels, no matrices, but points that are averaged."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from trainers.data.geometry import SliceGeometry
from trainers.data.volume import VolumeSlices


def plain_slice(volume: np.ndarray, slices: VolumeSlices, row: int) -> tuple[np.ndarray, np.ndarray]:
    """One of the slices of a canonical, stripped volume.

    Returns:
        Intensities, S x S float64, and S x S bool: whether it is clear that a pixel is brain, or that it is not.
    """
    mask, z = slices.mask, slices.z[row]
    white = 2.25 * np.median(volume[mask])
    brain = _averaged(mask[:, :, z].astype(float), slices.geometry)
    shown = _averaged(np.where(mask[:, :, z], volume[:, :, z] * (255 / white), 0.0), slices.geometry)
    return np.clip(shown, 0, 255) * (brain >= 0.5), np.abs(brain - 0.5) > 0.02


def _averaged(plane: np.ndarray, place: SliceGeometry, fine: int = 8) -> np.ndarray:
    """In each pixel the mean of `fine` x `fine` points, interpolated linearly."""
    inside = (np.arange(place.size * fine) + 0.5) / fine * place.mm_per_pixel
    x, y = place.right - inside / place.spacing[0] - 0.5, place.anterior - inside / place.spacing[1] - 0.5
    points = ndimage.map_coordinates(plane, np.meshgrid(x, y), order=1, mode="grid-constant")
    return points.reshape(place.size, fine, place.size, fine).mean(axis=(1, 3))
