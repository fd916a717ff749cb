"""Gives every patient their own anatomy: a smooth random deformation of a base head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

_NODES = 6
_SHIFT_SD_MM = 2.2
"""Standard deviation of the shift at the nodes; 5 mm visibly breaks the head."""


@dataclass(frozen=True)
class Head:
    """A base head on a grid of 1 mm, axes to the right, to the front and upwards."""

    name: str
    image: np.ndarray
    """Float32; white matter 1, grey matter 0.8, fluid 0.3, air near 0."""
    depth: np.ndarray
    """Float32: distance to the brain's surface in mm, negative outside the brain."""
    regions: np.ndarray
    """Uint8, values of `trainers.data.demo.tissue.Region`."""


def deform(head: Head, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A new anatomy from a base head: mirrored or not, scaled by up to 8 %, turned by about 4 degrees, bent smoothly.

    Returns:
        Image (float32), depth (float32, mm) and regions (uint8) as in `Head`, on the same grid.
    """
    shape = head.image.shape
    turn = np.eye(3)
    for axis, angle in enumerate(rng.normal(0, [0.04, 0.03, 0.06])):
        turn = turn @ _rotation(axis, float(angle))
    stretch = rng.uniform(0.93, 1.07, 3) * rng.uniform(0.96, 1.04)
    matrix = turn / stretch[None, :]
    if rng.random() < 0.5:
        matrix[0] *= -1
    centre = (np.array(shape) - 1) / 2
    points = _affine_grid(shape, matrix, centre)
    shifts = torch.from_numpy(rng.normal(0, _SHIFT_SD_MM, (3, _NODES, _NODES, _NODES)))
    points += smooth_field(shifts, shape).permute(1, 2, 3, 0)
    volumes = np.stack([head.image, head.depth])
    relative = _relative(points, shape)
    image, depth = _sample_at(volumes, relative, "bilinear")
    regions = _sample_at(head.regions[None].astype(np.float32), relative, "nearest")[0]
    return image, depth, regions.astype(np.uint8)


def sample(volume: np.ndarray, points: torch.Tensor) -> np.ndarray:
    """Values of `volume` (x, y, z) at voxel positions `points` (x, y, z, 3): float32 (x, y, z).

    Positions outside give the value at the border.
    """
    return _sample_at(volume[None].astype(np.float32), _relative(points, volume.shape), "bilinear")[0]


def _relative(points: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Voxel positions in torch's form: last axis first, -1 and 1 at the centres of the first and last voxel."""
    return (points.flip(-1) * (2 / (torch.tensor(shape[::-1], dtype=torch.float32) - 1))).sub_(1)


def _sample_at(volumes: np.ndarray, relative: torch.Tensor, mode: str) -> np.ndarray:
    """Values of several volumes (channels, x, y, z), float32 as they are."""
    source = torch.from_numpy(np.ascontiguousarray(volumes))[None]
    values = functional.grid_sample(source, relative[None], mode=mode, padding_mode="border", align_corners=True)
    return values[0].numpy()


def smooth_field(nodes: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Fields given on a few nodes (channels, n, n, n), spread smoothly over `shape`: float32 (channels, x, y, z)."""
    # Cubic on a small grid, linear from there on: as smooth to the eye as a cubic spline, at a tenth of its price.
    small = [np.asarray(ndimage.zoom(channel, 5, order=3, mode="nearest"), np.float32) for channel in nodes.numpy()]
    field = functional.interpolate(torch.from_numpy(np.stack(small))[None], shape, mode="trilinear")
    return field[0]


def _affine_grid(shape: tuple[int, ...], matrix: np.ndarray, centre: np.ndarray) -> torch.Tensor:
    """`matrix @ (index - centre) + centre` for every voxel: float32 (x, y, z, 3)."""
    parts = [
        torch.arange(n, dtype=torch.float32)[:, None] * torch.tensor(matrix[:, axis], dtype=torch.float32)
        for axis, n in enumerate(shape)
    ]
    origin = torch.tensor(centre - matrix @ centre, dtype=torch.float32)
    return parts[0][:, None, None] + parts[1][None, :, None] + parts[2][None, None, :] + origin


def _rotation(axis: int, angle: float) -> np.ndarray:
    """Turn by `angle` (radians) about one axis: 3 x 3."""
    first, second = [i for i in range(3) if i != axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix
