"""Whether a brain mask looks like a brain: its volume and shape, beside those of the other volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainers.data.mask import components

GRID_MM = 2.0
"""Shapes are measured on every n-th voxel, about this far apart."""
LEAST_PART_ML = 1.0
FEWEST = 8
"""Volumes from which on a median says something."""
ROBUST_SD = 4.0
"""Farther from the median than this many standard deviations (1.4826 median deviations) is far."""
FAR_ML, FAR_SYMMETRY = 0.15, 0.02
"""And farther than this: a share of the median volume, and a difference in symmetry."""


def mask_shape(mask: np.ndarray, spacing: np.ndarray) -> dict[str, float]:
    """Figures of a brain mask.

    Returns:
        `parts`: how many parts of at least 1 ml it has; `symmetry`: Dice coefficient of the mask and its mirror image,
        left for right, about its centre of mass. A brain with a part missing on one side has less than others.
    """
    steps = np.maximum(1, np.rint(GRID_MM / spacing).astype(int))
    small = mask[:: steps[0], :: steps[1], :: steps[2]]
    ml = float(np.prod(spacing * steps)) / 1000
    sizes = np.bincount(components(small).ravel())[1:]
    columns = small.sum(axis=(1, 2))
    twice_centre = int(np.rint(2 * np.average(np.arange(len(columns)), weights=columns)))
    mirrored = np.zeros_like(small)
    here = np.arange(max(0, twice_centre - len(small) + 1), min(len(small), twice_centre + 1))
    mirrored[here] = small[twice_centre - here]
    both = 2 * float((small & mirrored).sum()) / float(small.sum() + mirrored.sum())
    return {"parts": int((sizes * ml >= LEAST_PART_ML).sum()), "symmetry": round(both, 3)}


def odd_masks(volumes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Volumes whose brain mask is to be looked at, and why; `volumes` is that of a slice set's `meta.json`."""
    odd = {name: f"{of['strip']['parts']} parts" for name, of in volumes.items() if of["strip"]["parts"] != 1}
    if len(volumes) < FEWEST:
        return odd
    ml = np.array([of["brain_ml"] for of in volumes.values()])
    symmetry = np.array([of["strip"]["symmetry"] for of in volumes.values()])
    for name, size, alike in zip(volumes, ml, symmetry, strict=True):
        reasons = [odd[name]] if name in odd else []
        middle = float(np.median(ml))
        if abs(size - middle) > max(ROBUST_SD * robust_sd(ml), FAR_ML * middle):
            reasons.append(f"{size:,.0f} ml, median {middle:,.0f} ml")
        if np.median(symmetry) - alike > max(ROBUST_SD * robust_sd(symmetry), FAR_SYMMETRY):
            reasons.append(f"symmetry {alike:.3f}, median {np.median(symmetry):.3f}")
        if reasons:
            odd[name] = "; ".join(reasons)
    return odd


def robust_sd(values: np.ndarray) -> float:
    """A standard deviation that outliers do not move."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
