"""Where a prepared slice lies in its volume: boxes from pixels to voxels and millimetres and back.

All coordinates here are *edges*: voxel i covers i to i + 1, pixel c covers c to c + 1, and upper bounds are exclusive.
Canonical means RAS+: the first axis runs to the patient's right, the second to anterior, the third to superior. A slice
shows anterior at the top and the patient's right on the left (radiological).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation
from nibabel.spatialimages import SpatialImage
from pydantic import TypeAdapter


@dataclass(frozen=True)
class SliceGeometry:
    """Maps between the pixels of a volume's slices, canonical voxels, the file's voxels and world millimetres."""

    size: int
    """Height and width of a slice, pixels."""
    mm_per_pixel: float
    """Side of a pixel; the same in both directions."""
    right: float
    """Canonical x edge at the left border of a slice, voxels."""
    anterior: float
    """Canonical y edge at the upper border of a slice, voxels."""
    spacing: tuple[float, float, float]
    """Canonical voxel size, mm."""
    shape: tuple[int, int, int]
    """The volume's shape in its file, voxels."""
    orientation: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    """For each axis of the file: the canonical axis that it becomes and 1, or -1 where it is reversed."""
    affine: tuple[tuple[float, ...], ...]
    """4 x 4, from voxel centres in the file to world millimetres (RAS+)."""

    @classmethod
    def fit(cls, image: SpatialImage, size: int, right: float, anterior: float, side_mm: float) -> SliceGeometry:
        """Square slices of `side_mm` whose upper left corner lies at the canonical edges (right, anterior)."""
        affine = np.asarray(image.affine, dtype=np.float64)
        orientation = io_orientation(affine).astype(int)
        spacing = np.empty(3)
        spacing[orientation[:, 0]] = voxel_sizes(affine)
        fields = {
            "size": size,
            "mm_per_pixel": float(side_mm / size),
            "right": float(right),
            "anterior": float(anterior),
            "spacing": spacing.tolist(),
            "shape": [int(length) for length in image.shape[:3]],
            "orientation": orientation.tolist(),
            "affine": affine.tolist(),
        }
        return cls.from_json(fields)

    def to_json(self) -> dict[str, Any]:
        """A dict of plain numbers and lists."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> SliceGeometry:
        """The inverse of `to_json`, also after a trip through a JSON file."""
        return TypeAdapter(cls).validate_python(fields)

    def to_canonical(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes in pixels (n x 4: x0, y0, x1, y1) as canonical voxel edges in the same order; n x 4 float64."""
        pixels = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        x = self.right - pixels[:, [2, 0]] * self.mm_per_pixel / self.spacing[0]
        y = self.anterior - pixels[:, [3, 1]] * self.mm_per_pixel / self.spacing[1]
        return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)

    def to_pixels(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes as canonical voxel edges (n x 4: x0, y0, x1, y1) in pixels, not clipped; n x 4 float64."""
        voxels = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        x = (self.right - voxels[:, [2, 0]]) * self.spacing[0] / self.mm_per_pixel
        y = (self.anterior - voxels[:, [3, 1]]) * self.spacing[1] / self.mm_per_pixel
        return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)

    def to_file(self, boxes: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Boxes in pixels on canonical slices z (n) as voxel edges in the file: n x 2 x 3 float64, lower and upper."""
        flat = self.to_canonical(boxes)
        z = np.asarray(z, dtype=np.float64).reshape(-1)
        canonical = np.stack([np.column_stack([flat[:, :2], z]), np.column_stack([flat[:, 2:], z + 1])], axis=1)
        corners = np.empty_like(canonical)
        for axis, (becomes, direction) in enumerate(self.orientation):
            edges = canonical[:, :, becomes]
            corners[:, :, axis] = edges if direction > 0 else self.shape[axis] - edges[:, ::-1]
        return corners

    def to_world(self, boxes: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The extent in world millimetres (RAS+) of boxes in pixels on slices z: n x 2 x 3 float64, lower and upper."""
        voxels = self.to_file(boxes, z) - 0.5
        picks = np.array([[(corner >> axis) & 1 for axis in range(3)] for corner in range(8)])
        corners = np.stack([voxels[:, picks[:, axis], axis] for axis in range(3)], axis=-1)
        affine = np.asarray(self.affine)
        world = corners @ affine[:3, :3].T + affine[:3, 3]
        return np.stack([world.min(axis=1), world.max(axis=1)], axis=1)
