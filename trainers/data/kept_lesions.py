"""Lesions that a skull strip cuts into: counted, and given back.

A lesion that touches the surface of the brain looks like skull to a strip. Where its annotation is known, no voxel of
it has to be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from trainers.config import Config
from trainers.data.strip_config import StripConfig

TOLERATED = 0.05
"""Share of a lesion's voxels on one slice that may lie outside the brain mask without a lesion counting as cut: borders
of two masks differ by a voxel here and there."""
ADJOINING = np.ones((3, 3, 3), bool)
"""A voxel and its 26 neighbours."""


@dataclass(frozen=True)
class Lesions:
    """The lesions of a volume, numbered from 1, 0 elsewhere; X x Y x Z int32 each."""

    whole: np.ndarray
    """What is given back."""
    surely: np.ndarray
    """What is lesion for sure: all of a mask's, the middle of a box."""


class CutLesion(Config):
    """A lesion of which the strip removes voxels."""

    lesion: int
    """Its number: of the mask's parts, or the boxes' `lesion`."""
    voxels: int
    """Its voxels; of boxes, their middles'."""
    cut: int
    """How many of them the strip removes."""
    worst_z: int
    """The slice that loses most."""
    worst_share: float
    """Share of the lesion's voxels on this slice that the strip removes."""
    given_back: bool
    """Whether the slices show the lesion all the same."""

    def __str__(self) -> str:
        back = "it is given back" if self.given_back else "it is not given back"
        return (
            f"the strip removes {self.cut:,} of {self.voxels:,} voxels of lesion {self.lesion}, {self.worst_share:.0%} "
            f"of those on slice {self.worst_z}; {back}"
        )

    @property
    def counts(self) -> bool:
        """Whether more is lost than borders of masks differ."""
        return self.worst_share > TOLERATED


def lesions_of_boxes(boxes: pd.DataFrame, shape: Sequence[int]) -> Lesions:
    """Lesions of which only boxes (`read_boxes`) are known: the ellipse within each box, as a lesion has no corners.

    The ellipse of half its size is lesion for sure, also in a box that was drawn with a margin as wide as the lesion's
    radius.
    """
    whole, surely = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for z, x0, y0, x1, y1, lesion in boxes[["z", "x0", "y0", "x1", "y1", "lesion"]].to_numpy(np.int64):
        x = (2 * np.arange(x0, x1) + 1 - x0 - x1) / (x1 - x0)
        y = (2 * np.arange(y0, y1) + 1 - y0 - y1) / (y1 - y0)
        radius = np.hypot(x[:, None], y[None])
        whole[x0:x1, y0:y1, z][radius <= 1] = lesion
        surely[x0:x1, y0:y1, z][radius <= max(0.5, float(radius.min()))] = lesion
    return Lesions(whole, surely)


def give_back(
    mask: np.ndarray, lesions: Lesions, spacing: np.ndarray, config: StripConfig
) -> tuple[np.ndarray, tuple[CutLesion, ...]]:
    """The brain mask joined with the lesions that it cuts and a margin around them, as far as `config` wants; and each
    lesion that loses a voxel.

    A lesion that lies outside the brain is given back if it adjoins it or the margin reaches it. Others may have been
    drawn on another volume.
    """
    joined = mask.copy()
    cut: list[CutLesion] = []
    for number, region in enumerate(ndimage.find_objects(lesions.whole), start=1):
        if region is None:
            continue
        voxels = lesions.surely[region] == number
        outside = (voxels & ~mask[region]).sum(axis=(0, 1))
        if not outside.any():
            continue
        shares = outside / np.maximum(1, voxels.sum(axis=(0, 1)))
        worst = int(np.argmax(shares))
        reach = np.maximum(1, np.ceil(config.lesion_margin_mm / spacing).astype(int))
        wide = tuple(slice(max(0, s.start - r), s.stop + r) for s, r in zip(region, reach, strict=True))
        whole = lesions.whole[wide] == number
        within = np.asarray(ndimage.distance_transform_edt(~whole, sampling=spacing)) <= config.lesion_margin_mm
        touches = bool((mask[wide] & np.logical_or(within, ndimage.binary_dilation(whole, ADJOINING))).any())
        back = config.keep_lesions and touches and bool(shares[worst] > TOLERATED)
        cut.append(
            CutLesion(
                lesion=number,
                voxels=int(voxels.sum()),
                cut=int(outside.sum()),
                worst_z=region[2].start + worst,
                worst_share=round(float(shares[worst]), 3),
                given_back=back,
            )
        )
        if back:
            joined[wide] |= within
    return joined, tuple(cut)
