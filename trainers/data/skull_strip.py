"""Brain masks: given, by deepbet or another program, or from the zeros around a brain that was stripped before.

deepbet (MIT) carries its weights in its wheel and needs about 1.4 GB and 2 to 5 s a volume on two cores.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

import cc3d
import fill_voids
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.nifti1 import Nifti1Image
from scipy import ndimage

from trainers.data.mask import extent
from trainers.data.strip_command import run_command
from trainers.data.strip_config import DEFAULT_STRIP, StripConfig
from trainers.exceptions import CohortError

if TYPE_CHECKING:
    from deepbet.bet import BrainExtraction

STRIPPED_BELOW = 0.1
"""Heads with skull measure 0.5 to 1.4, stripped ones 0.000 to 0.002 (see `outside_share`)."""

BRAIN_ML = (200.0, 2600.0)
"""A brain mask smaller or larger than this is no human brain."""


def brain_mask(
    volume: np.ndarray,
    affine: np.ndarray,
    stripped: bool | None,
    where: str,
    config: StripConfig = DEFAULT_STRIP,
    given: np.ndarray | None = None,
) -> tuple[np.ndarray, bool]:
    """The brain of a head.

    Args:
        volume: X x Y x Z float32, canonical orientation.
        affine: 4 x 4, canonical voxel centres to mm.
        stripped: whether everything but the brain is already gone; None finds out.
        where: names the volume in errors.
        config: how the skull is stripped of a head that has it.
        given: the mask, if one is known; X x Y x Z bool.

    Returns:
        X x Y x Z bool, and whether the volume came stripped.

    Raises:
        CohortError: no brain is found.
    """
    spacing = voxel_sizes(affine)
    if given is not None:
        mask, source = given, "given mask of the brain"
    elif stripped:
        mask, source = _nonzero(volume), "non-zero part"
    elif config.method == "deepbet":
        mask, source = _deepbet(volume, affine, config.threshold, where), "brain found by deepbet"
    else:
        mask, source = run_command(config.method, volume, affine, where), f"brain found by {config.method}"
    if stripped is None and mask.any():
        stripped = outside_share(volume, mask, spacing) < STRIPPED_BELOW
        if stripped and given is None:
            mask, source = _nonzero(volume), "non-zero part"
    brain_ml(mask, spacing, where, source)
    return mask, bool(stripped)


def brain_ml(mask: np.ndarray, spacing: np.ndarray, where: str, source: str) -> float:
    """The volume of a mask in millilitres.

    Args:
        where, source: name the volume and where its mask is from, in errors.

    Raises:
        CohortError: no brain is of that size.
    """
    millilitres = float(mask.sum() * np.prod(spacing) / 1000)
    if not BRAIN_ML[0] <= millilitres <= BRAIN_ML[1]:
        raise CohortError(
            f"{where}: the {source} measures {millilitres:.0f} ml; "
            f"allowed: {BRAIN_ML[0]:.0f} to {BRAIN_ML[1]:.0f} ml. Look at the volume: is it a whole head in T1, is its "
            'voxel size right, and is "stripped" right in cohort.json?'
        )
    return millilitres


def refuse_size(shape: tuple[int, ...], spacing: np.ndarray, where: str) -> None:
    """Raise CohortError if a grid is smaller than any brain, or a voxel of it larger."""
    voxel_ml = float(np.prod(spacing) / 1000)
    grid_ml = voxel_ml * math.prod(shape)
    if grid_ml < BRAIN_ML[0] or voxel_ml > BRAIN_ML[1]:
        raise CohortError(
            f"{where}: its {' x '.join(map(str, shape))} voxels of {' x '.join(f'{size:.3g}' for size in spacing)} mm "
            f"measure {grid_ml:.3g} ml in all; a brain has {BRAIN_ML[0]:.0f} to {BRAIN_ML[1]:.0f} ml. Is its affine in "
            "millimetres, and is it a whole head?"
        )


def outside_share(volume: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> float:
    """Foreground voxels further than 5 mm outside the brain mask, as a share of the mask's voxels.

    Foreground is what exceeds a tenth of the brain's 90th percentile. Measured on every n-th voxel, about 2 mm apart.
    """
    i, j, k = (max(1, round(2.0 / float(size))) for size in spacing)
    volume, mask = volume[::i, ::j, ::k], mask[::i, ::j, ::k]
    distance = np.empty(mask.shape)
    ndimage.distance_transform_edt(~mask, sampling=spacing * (i, j, k), distances=distance)
    far = distance > 5.0
    background = air_level(volume)
    foreground = volume - background > 0.1 * (np.percentile(volume[mask], 90) - background)
    return float((foreground & far).sum() / max(1, mask.sum()))


def _deepbet(volume: np.ndarray, affine: np.ndarray, threshold: float, where: str) -> np.ndarray:
    import torch

    try:
        _, mask, _ = _model(torch.cuda.is_available()).run(Nifti1Image(volume, affine), threshold=threshold)
    except (AssertionError, ValueError) as error:
        raise CohortError(f"{where}: deepbet finds no brain in it ({error}). Is it a whole head in T1?") from error
    return np.asarray(mask.dataobj) > 0


@lru_cache(maxsize=1)
def _model(gpu: bool) -> BrainExtraction:
    """Loading takes 2 s, so a process does it once."""
    from deepbet.bet import BrainExtraction

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return BrainExtraction(no_gpu=not gpu)


def _nonzero(volume: np.ndarray) -> np.ndarray:
    """The brain of a stripped volume: its largest part that differs from the background, without holes."""
    differs = volume.T - air_level(volume)
    np.abs(differs, out=differs)
    values = differs[differs > 0]
    bright = np.percentile(values, 90, overwrite_input=True) if len(values) else 0.0
    mask = differs > 0.02 * bright
    inside = tuple(extent(mask, axis) for axis in range(3))
    slices = mask[inside]
    if slices.size:
        slices[:] = cc3d.largest_k(slices, k=1, connectivity=6) > 0  # of the parts that touch at faces
    for part in slices:
        part[:] = fill_voids.fill(part)
    return mask.T


def air_level(volume: np.ndarray) -> float:
    """What surrounds the head: the middle value of the eight corners, since z-scored volumes do not have 0 there."""
    return float(np.median(volume[np.ix_([0, -1], [0, -1], [0, -1])]))
