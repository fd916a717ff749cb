"""One volume -> axial slices of the brain, as the GANs and the detector see them (paper section 2.2, Data Preparation).

Load -> canonical orientation -> brain mask -> square crop around the brain -> resize -> robust scaling to uint8. The
same function serves preparation and detection, so a detector meets a new volume in the form it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.funcs import as_closest_canonical
from nibabel.nifti1 import Nifti1Image
from nibabel.spatialimages import SpatialImage
from pydantic import Field, field_validator
from scipy import sparse

from trainers.config import Config
from trainers.data.geometry import SliceGeometry
from trainers.data.kept_lesions import CutLesion, Lesions, give_back
from trainers.data.leaks import signature
from trainers.data.mask import extent, same_grid
from trainers.data.skull_strip import brain_mask, refuse_size
from trainers.data.strip_config import DEFAULT_STRIP, StripConfig
from trainers.data.volume_file import canonical_voxels, load_image, refuse_constant
from trainers.exceptions import CohortError


class SliceConfig(Config):
    """How a slice looks."""

    size: int = Field(default=256, ge=32, le=512)
    """Height and width of a slice in pixels; a power of two, 32 to 512."""
    margin: float = Field(default=0.04, ge=0.0, le=0.5)
    """Room on each side of the brain, as a share of its longer in-plane extent."""
    min_brain_area: float = Field(default=0.15, gt=0.0, le=1.0)
    """A slice with less brain than this share of the volume's largest slice is left out, unless it has a box."""
    white: float = Field(default=2.25, gt=1.0)
    """The intensity shown as white, in medians of the brain: enhancing lesions reach about 2, vessels 2.7."""
    strip: StripConfig = Field(default=DEFAULT_STRIP, exclude_if=lambda strip: strip == DEFAULT_STRIP)
    """How the skull is stripped. Decides a stage's key only where it is not the default."""

    @field_validator("size")
    @classmethod
    def _power_of_two(cls, size: int) -> int:
        if size & (size - 1):
            raise ValueError("must be a power of two: 32, 64, 128, 256 or 512")
        return size


@dataclass(frozen=True)
class VolumeSlices:
    """The axial slices of one volume, from the lowest to the highest."""

    images: np.ndarray
    """N x S x S uint8; 0 outside the brain."""
    z: np.ndarray
    """N int64: index along the third canonical axis."""
    geometry: SliceGeometry
    brain_ml: float
    """Volume of the brain mask."""
    stripped: bool
    """Whether the volume came without skull."""
    brain: np.ndarray
    """N x S x S bool: pixels of which at least half is brain."""
    enough_brain: np.ndarray
    """N bool: whether a slice has the brain area that the config asks for; the others were asked for by `also`."""
    signature: np.ndarray
    """What recognises the volume under another name (`trainers.data.leaks`)."""
    mask: np.ndarray
    """X x Y x Z bool: the brain, with lesions that were given back."""
    lesions: np.ndarray
    """X x Y x Z bool: what is lesion for sure; nothing of a volume whose lesions are unknown."""
    lesions_cut: tuple[CutLesion, ...]
    """Lesions of which the strip removes voxels."""


def volume_slices(
    path: Path,
    config: SliceConfig,
    stripped: bool | None = None,
    also: Collection[int] = (),
    brain_path: Path | None = None,
    lesions: Callable[[Nifti1Image], Lesions] | None = None,
) -> VolumeSlices:
    """The slices of the NIfTI volume at `path`.

    Args:
        stripped: whether only the brain is in it; None: detected.
        also: canonical z indices to keep even with little brain.
        brain_path: a mask of the brain, which goes before any strip.
        lesions: reads the lesions of the opened volume, of which the strip may cut none; None: unknown.

    Raises:
        CohortError: as `read_head`, or the volume holds no brain.
    """
    image, volume, affine = read_head(path)
    given = None if brain_path is None else read_brain(brain_path, image)
    mask, stripped = brain_mask(volume, affine, stripped, str(path), config.strip, given)
    lesions_cut: tuple[CutLesion, ...] = ()
    lesion = np.zeros(mask.shape, bool)
    if lesions is not None:
        known = lesions(image)
        lesion = known.surely > 0
        mask, lesions_cut = give_back(mask, known, voxel_sizes(affine), config.strip)
    geometry = _geometry(image, mask, config)

    area = mask.sum(axis=(0, 1))
    enough = area >= config.min_brain_area * area.max()
    keep = enough.copy()
    keep[list(also)] = True
    z = np.flatnonzero(keep)

    rows = _area_weights(geometry.anterior, geometry.mm_per_pixel / geometry.spacing[1], config.size, volume.shape[1])
    columns = _area_weights(geometry.right, geometry.mm_per_pixel / geometry.spacing[0], config.size, volume.shape[0])
    black, white = _window(volume.T[mask.T], config.white, path)
    x, y = (extent(mask, axis) for axis in (0, 1))  # all else is 0
    shown = mask.T[z, y, x]
    scaled = volume.T[z, y, x] - black
    scaled *= 255.0 / (white - black)
    scaled[~shown] = 0
    brain = _resize(shown, rows[:, y], columns[:, x]) >= 0.5
    bright = _resize(scaled, rows[:, y], columns[:, x])
    np.rint(np.clip(bright, 0, 255, out=bright), out=bright)
    images = np.ascontiguousarray(bright.astype(np.uint8) * brain)
    brain_ml = float(area.sum() * np.prod(geometry.spacing) / 1000)
    return VolumeSlices(
        images,
        z,
        geometry,
        brain_ml,
        stripped,
        np.ascontiguousarray(brain),
        enough[z],
        signature(volume),
        mask,
        lesion,
        lesions_cut,
    )


def read_head(path: Path) -> tuple[Nifti1Image, np.ndarray, np.ndarray]:
    """The volume at `path`, opened; its voxels, X x Y x Z float32, and affine, both in canonical order.

    Raises:
        CohortError: the file is no volume, has several frames, NaNs or one value only, or no brain fits into it.
    """
    image = load_image(path)
    volume, affine = canonical_voxels(image, path)
    refuse_constant(volume, path)
    refuse_size(volume.shape, voxel_sizes(affine), str(path))
    return image, volume, affine


def read_brain(path: Path, image: Nifti1Image) -> np.ndarray:
    """A mask of a volume's brain, X x Y x Z bool in canonical order; CohortError if it cannot be read or has another
    grid."""
    mask = load_image(path, mask=True)
    same_grid(mask, path, image)
    return canonical_voxels(mask, path)[0] > 0


def _geometry(image: SpatialImage, mask: np.ndarray, config: SliceConfig) -> SliceGeometry:
    """One square around the brain for all slices, so that a volume keeps its proportions from slice to slice."""
    spacing = voxel_sizes(as_closest_canonical(image).affine)
    extent = [np.flatnonzero(mask.any(axis=axes))[[0, -1]] + [0, 1] for axes in ((1, 2), (0, 2))]
    side_mm = max((high - low) * size for (low, high), size in zip(extent, spacing, strict=False))
    side_mm *= 1 + 2 * config.margin
    right, anterior = (
        (low + high) / 2 + side_mm / (2 * size) for (low, high), size in zip(extent, spacing, strict=False)
    )
    return SliceGeometry.fit(image, config.size, right, anterior, side_mm)


def _area_weights(start: float, step: float, size: int, voxels: int) -> sparse.csr_array:
    """Row p averages the linear interpolant of the voxels over pixel p; size x voxels float32, almost all 0.

    Pixel p covers the edges start - (p + 1) step to start - p step. Outside the volume counts as 0. Shrinking it is an
    area average (no aliasing), growing it linear interpolation.
    """
    high = start - np.arange(size)[:, None] * step
    centre = np.arange(voxels)[None] + 0.5
    weights = (_hat_integral(high - centre) - _hat_integral(high - step - centre)) / step
    return sparse.csr_array(weights.astype(np.float32))


def _hat_integral(t: np.ndarray) -> np.ndarray:
    """The integral up to t of the hat function max(0, 1 - |t|)."""
    t = np.clip(t, -1.0, 1.0)
    return np.where(t < 0, (t + 1) ** 2 / 2, 1 - (1 - t) ** 2 / 2)


def _resize(slices: np.ndarray, rows: sparse.csr_array, columns: sparse.csr_array) -> np.ndarray:
    """N x Y x X -> N x S x S float32, each row of all slices together in memory."""
    n, y, x = slices.shape
    across = columns @ np.ascontiguousarray(slices.transpose(2, 1, 0), np.float32).reshape(x, y * n)
    both = rows @ across.reshape(-1, y, n).transpose(1, 2, 0).reshape(y, -1)
    return both.reshape(len(both), n, -1).transpose(1, 0, 2)


def _window(brain: np.ndarray, white: float, path: Path) -> tuple[float, float]:
    """The intensities shown as 0 and 255; reorders those of the brain.

    White hangs on the brain's median, not on a high percentile: that would move with the number of lesions and vessels.
    """
    black = min(0.0, float(np.percentile(brain, 0.5, overwrite_input=True)))
    middle = float(np.median(brain, overwrite_input=True))
    if middle <= black:
        raise CohortError(f"{path}: half of its brain is not brighter than {black:g}; is it a T1 volume?")
    return black, black + white * (middle - black)
