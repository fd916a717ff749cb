"""Which voxels of a mask are lesion, and the mask's parts; a mask that contradicts itself or its patient is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.nifti1 import Nifti1Image
from nibabel.spatialimages import SpatialImage
from scipy import ndimage

from trainers.data.volume_file import canonical_voxels
from trainers.exceptions import CohortError, NoLesionError

MOST_ML = 500.0
"""Of lesion: a brain has about 1,300 ml, and no patient lives with more."""
MOST_SHARE = 0.5
"""Of a mask's voxels that may be lesion, for grids so small that `MOST_ML` says nothing."""
MOST_VALUES = 256
"""Different values but 0, where each lesion has its own; an image has more."""
WHOLE = 1e-3
"""How far a value may be from a whole number: scale factors of headers are rounded."""
MOST_TOLD = 10
"""Values that an error message lists."""


def components(mask: np.ndarray) -> np.ndarray:
    """Labels from 1 of the parts of a mask that touch at a face, an edge or a corner; int32."""
    labels = np.zeros(mask.shape, dtype=np.int32)
    inside = tuple(extent(mask, axis) for axis in range(mask.ndim))  # lesions are small beside their volume
    labels[inside] = ndimage.label(mask[inside], structure=np.ones((3,) * mask.ndim))[0]  # pyright: ignore
    return labels


def extent(mask: np.ndarray, axis: int) -> slice:
    """Where anything of a mask lies along an axis."""
    at = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
    return slice(at[0], at[-1] + 1) if len(at) else slice(0)


def same_grid(mask: SpatialImage, path: Path, image: SpatialImage) -> None:
    """Raise CohortError if the mask at `path` has another grid than its volume."""
    got, needed = np.asarray(mask.affine), np.asarray(image.affine)
    if mask.shape != image.shape or not np.allclose(got, needed, atol=1e-2):
        raise CohortError(
            f"{path}: shape {mask.shape} and affine {got.round(3).tolist()} differ from its volume's {image.shape} and "
            f"{needed.round(3).tolist()}; resample the mask onto the volume's grid."
        )


def lesion_voxels(mask: Nifti1Image, path: Path, labels: tuple[int, ...] | None) -> np.ndarray:
    """The lesion voxels of the mask at `path`, X x Y x Z bool in canonical order.

    Args:
        labels: the values that are lesion; None: every value but 0.

    Raises:
        NoLesionError: it has none of the labels, or no lesion; names the values found.
        CohortError: it cannot be read, has values that are no whole numbers, or so much lesion that it is no mask of
            lesions; names the values found.
    """
    volume, affine = canonical_voxels(mask, path)
    lesion = volume != 0
    values = volume[lesion]
    whole = np.rint(values)
    beside = np.abs(values - whole) > WHOLE
    if beside.any():
        raise CohortError(
            f"{path}: {int(beside.sum()):,} of its {volume.size:,} voxels are no whole numbers "
            f"({_few(values[beside])}); allowed: one whole number per kind of tissue, 0 elsewhere. Was it "
            "resampled? Do so with the nearest neighbour, or choose a threshold and write 0 and 1."
        )
    selected = whole != 0 if labels is None else np.isin(whole, labels)
    if not selected.any():
        needed = "at least one that is not 0" if labels is None else f"at least one of mask_labels {_listed(labels)}"
        raise NoLesionError(
            f'{path}: shows no lesion, but the volume\'s kind is "tumour": its values are {_few(volume)}; needed: '
            f'{needed}. Correct the mask or mask_labels, leave the volume out, or make the patient "normal" without a '
            "mask."
        )
    ml = float(selected.sum() * np.prod(voxel_sizes(affine)) / 1000)
    if ml > MOST_ML or selected.sum() > MOST_SHARE * volume.size:
        raise CohortError(
            f"{path}: {int(selected.sum()):,} of its {volume.size:,} voxels are lesion, {ml:,.0f} ml; allowed: up to "
            f"{MOST_ML:g} ml and {MOST_SHARE:.0%} of the voxels. Its values are {_few(volume)}. Is it the volume, a "
            "mask of the brain, or turned inside out? Give a mask of the lesions."
        )
    different = np.unique(whole)
    if len(different) > MOST_VALUES:
        raise CohortError(
            f"{path}: has {len(different):,} different values ({_few(different)}); allowed: up to {MOST_VALUES}, one "
            "a kind of tissue or lesion. Is it an image? Give a mask of the lesions."
        )
    lesion[lesion] = selected
    return lesion


def _few(values: np.ndarray) -> str:
    """The different values; of many, the first."""
    different = np.unique(values)
    more = f", and {len(different) - MOST_TOLD:,} more up to {different[-1]:g}" if len(different) > MOST_TOLD else ""
    return _listed(different[:MOST_TOLD]) + more


def _listed(values: np.ndarray | tuple[int, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
