"""Makes a base head's brightness even and comparable, and finds the places where lesions and vessels may lie."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from scipy import ndimage

from trainers.data.mask import components

FLUID, GREY, WHITE = 0.3, 0.8, 1.0
"""Brightness of the tissues in a base head: a contrast-enhanced T1 image is flatter than a plain one."""


class Region(IntEnum):
    """What a voxel may hold."""

    OUTSIDE = 0
    TISSUE = 1
    JUNCTION = 2
    """The border of grey and white matter, where most metastases sit (Hwang 1996: 64 %)."""
    SULCUS = 3
    CHOROID = 4
    """The rear half of the lateral ventricles, where the choroid plexus enhances."""
    SINUS = 5
    """The superior sagittal sinus."""


Box = tuple[slice, slice, slice]


def even_out(image: np.ndarray, mask: np.ndarray, rounds: int = 8) -> np.ndarray:
    """Divide out the coil's sensitivity: afterwards white matter is about 1 everywhere. Float32.

    Starts from the local upper quartile of brightness. Each round takes the white matter found so far as the reference
    and spreads its logarithm over the whole head by normalised Gaussian smoothing; done on every fourth voxel.
    """
    coarse, inside = ndimage.uniform_filter(image, 2)[::4, ::4, ::4], mask[::4, ::4, ::4]
    level = np.log(np.maximum(coarse, 1.0))
    field = ndimage.percentile_filter(np.where(inside, level, level[inside].min()), 80, size=6)
    field = _spread(field, inside & (field > level[inside].min()), 2.0)
    for _ in range(rounds):
        bright = level - field
        _, grey, white = _tissue_means(np.exp(bright[inside]))
        weight = inside & (bright > np.log((grey + white) / 2)) & (bright < np.log(1.2 * white))
        field = _spread(level, weight, 2.0)
    positions = np.meshgrid(*[np.arange(n, dtype=np.float32) / 4 for n in image.shape], indexing="ij")
    full = ndimage.map_coordinates(field, positions, order=1, mode="nearest")
    return (image / np.exp(full)).astype(np.float32)


def calibrate(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Bring the brightness of fluid, grey and white matter to FLUID, GREY and WHITE. Float32."""
    fluid, grey, white = _tissue_means(image[mask])
    knots = [0.07 * white, fluid, grey, white, 1.3 * white, 3 * white]  # below the first: noise of the air
    return np.interp(image, knots, [0.0, FLUID, GREY, WHITE, 1.15, 1.8]).astype(np.float32)


def label_regions(image: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Where lesions and vessels may lie: uint8 of `Region`, from a calibrated image and its depth map (1 mm grid)."""
    regions = np.zeros(image.shape, dtype=np.uint8)
    brain = box_of(depth > -5)
    regions[brain] = _label_brain(image[brain], depth[brain])
    return regions


def _label_brain(image: np.ndarray, depth: np.ndarray) -> np.ndarray:
    smooth = ndimage.gaussian_filter(image, 0.7)
    # Judged against its surroundings: a sulcus is darker than they are even where the whole region is dark.
    sulcus = (smooth < 0.72) & (smooth < ndimage.gaussian_filter(smooth, 4.0) - 0.08)
    fluid = (sulcus | (smooth < 0.5) & (depth > 20)) & (depth > 1)
    white = (smooth > (GREY + 2 * WHITE) / 3) & (depth > 3)
    grey = (depth > 1) & ~fluid & ~white
    regions = np.where(depth > 3, Region.TISSUE, Region.OUTSIDE).astype(np.uint8)
    regions[_grown(white, 1) & _grown(grey, 1) & ~fluid & (depth > 3)] = Region.JUNCTION
    regions[fluid] = Region.OUTSIDE
    regions[fluid & (depth < 14)] = Region.SULCUS
    regions[_rear_ventricles(fluid, depth)] = Region.CHOROID
    regions[_sagittal_sinus(depth)] = Region.SINUS
    return regions


def _spread(values: np.ndarray, measured: np.ndarray, width: float) -> np.ndarray:
    """Smooth `values` by a Gaussian over the voxels that are `known`, and carry them on to all others."""
    share = ndimage.gaussian_filter(measured.astype(float), width)
    smooth = ndimage.gaussian_filter(np.where(measured, values, 0.0), width) / np.maximum(share, 1e-9)
    nearest = ndimage.distance_transform_edt(share < 0.02, return_distances=False, return_indices=True)
    return ndimage.gaussian_filter(smooth[tuple(np.asarray(nearest))], 1.0)


def box_of(mask: np.ndarray) -> Box:
    """The smallest box around a mask that is not empty."""
    x, y, z = ndimage.find_objects(mask.astype(np.uint8))[0]
    return x, y, z


def _tissue_means(values: np.ndarray, rounds: int = 12) -> tuple[float, float, float]:
    """Brightness of (fluid, grey matter, white matter): the darkest voxels, and two-means clustering of the rest."""
    fluid, tenth = np.quantile(values, [0.03, 0.1])
    values = values[values > tenth]
    grey, white = np.quantile(values, [0.3, 0.85])
    for _ in range(rounds):
        is_white = values > (grey + white) / 2
        grey, white = np.median(values[~is_white]), np.median(values[is_white])
    return float(fluid), float(grey), float(white)


def _grown(mask: np.ndarray, voxels: int) -> np.ndarray:
    return ndimage.maximum_filter(mask, size=2 * voxels + 1)


def _rear_ventricles(fluid: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The rear half of the two largest fluid spaces deep in the brain: bool."""
    labels = components(fluid & (depth > 22))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    ventricles = np.isin(labels, np.argsort(-sizes)[:2])
    rear = np.arange(fluid.shape[1])[None, :, None] < np.median(np.nonzero(ventricles)[1]) - 4
    return ventricles & rear


def _sagittal_sinus(depth: np.ndarray) -> np.ndarray:
    """A tube of about 7 mm along the midline over the brain's upper and rear surface: bool."""
    x, y, z = np.nonzero(depth > 0)
    across = np.abs(np.arange(depth.shape[0]) - x.mean())[:, None, None]
    upper = np.arange(depth.shape[2])[None, None, :] > z.min() + 0.55 * (z.max() - z.min())
    rear = np.arange(depth.shape[1])[None, :, None] < y.min() + 0.12 * (y.max() - y.min())
    return ((across / 3.5) ** 2 + ((depth - 0.5) / 3.0) ** 2 < 1) & (upper | rear)
