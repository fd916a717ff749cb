"""The scanner of a patient: field strength, contrast, sensitivity, noise, matrix and slice thickness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from trainers.data.demo.anatomy import smooth_field
from trainers.data.demo.tissue import FLUID, GREY, WHITE

MATRICES = ((190, 224), (216, 256), (256, 256), (460, 460))
"""The paper's in-plane matrices: across, front to back."""

_LENGTH_MM = (228.0, 242.0)
"""Field of view from front to back."""


@dataclass(frozen=True)
class Scanner:
    """One scanner and its protocol, and where it cuts the head: a linear map from the 1 mm grid to its own voxels."""

    tesla: float
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    start: tuple[float, float, float]
    """Position of the first voxel's centre on the 1 mm grid."""
    knots: tuple[float, ...]
    """Brightness of air, fluid, grey matter, white matter, fat in its images."""
    noise: float
    units: float
    """Stored value of white matter."""

    @property
    def name(self) -> str:
        """For the manifest, such as `3.0T 256x256x36 0.92x0.92x4.5mm`."""
        voxel = "x".join(f"{size:.2f}" for size in self.spacing[:2])
        return f"{self.tesla:.1f}T {'x'.join(map(str, self.shape))} {voxel}x{self.spacing[2]:.1f}mm"

    @property
    def affine(self) -> np.ndarray:
        """Voxels to mm, 4 x 4; the middle of the volume is the origin."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = [-size * (n - 1) / 2 for size, n in zip(self.spacing, self.shape, strict=True)]
        return affine

    def contrast(self, image: np.ndarray) -> np.ndarray:
        """The tissue brightness that this scanner gives, float32."""
        return np.interp(image, (0.0, FLUID, GREY, WHITE, 1.8), self.knots).astype(np.float32)

    def acquire(self, image: np.ndarray, start: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
        """Average the 1 mm grid into the scanner's voxels: float32 of `shape`.

        Args:
            image: X x Y x Z, a part of the 1 mm grid; the rest is 0.
            start: where on the grid that part begins.
        """
        values = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
        for axis in (2, 0, 1):
            weights = self._weights(axis, start[axis], image.shape[axis])
            values = torch.movedim(torch.movedim(values, axis, -1) @ weights.T, -1, axis)
        return values.numpy()

    def _weights(self, axis: int, first: int, count: int) -> torch.Tensor:
        """How much each of `count` voxels of the 1 mm grid adds to each scanner voxel along one axis."""
        centres = self.start[axis] + self.spacing[axis] * np.arange(self.shape[axis])
        offset = np.abs(centres[:, None] - (first + np.arange(count))[None, :])
        half = max(self.spacing[axis], 1.0) / 2
        overlap = np.clip(half + 0.5 - offset, 0, min(1.0, 2 * half)) / (2 * half)
        return torch.from_numpy(overlap.astype(np.float32))

    def expose(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Uneven sensitivity and Rician noise over acquired values; int16 as stored in the file."""
        nodes = torch.from_numpy(rng.normal(0, 0.16, (1, 4, 4, 4)))
        image = image * np.exp(smooth_field(nodes, image.shape)[0].numpy())
        real = image + self.noise * rng.standard_normal(image.shape, dtype=np.float32)
        imaginary = self.noise * rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(np.hypot(real, imaginary) * self.units, 0, 32767).astype(np.int16)


def draw_scanner(depth: np.ndarray, rng: np.random.Generator) -> Scanner:
    """A random scanner whose field of view holds the brain given by its depth map (1 mm grid, mm) with the head."""
    inside = depth > 0
    tesla = 3.0 if rng.random() < 0.5 else 1.5
    matrix = MATRICES[rng.integers(len(MATRICES))]
    pixel = rng.uniform(*_LENGTH_MM) / matrix[1]
    thickness = float(rng.uniform(3.0, 5.2))
    height = np.flatnonzero(inside.any(axis=(0, 1)))
    low, high = height[0] - rng.uniform(8, 16), height[-1] + rng.uniform(10, 16)
    slices = int(np.clip(np.ceil((high - low) / thickness), 28, 50))
    shape = (matrix[0], matrix[1], slices)
    centre = [(n - 1) / 2 for n in depth.shape[:2]]
    spacing = (float(pixel), float(pixel), thickness)
    start = (*(centre[i] - pixel * (shape[i] - 1) / 2 for i in range(2)), float(low + thickness / 2))
    grey = GREY + float(rng.normal(0, 0.03)) + (0.0 if tesla > 2 else 0.02)
    knots = (float(rng.uniform(0.0, 0.02)), FLUID + float(rng.normal(0, 0.03)), grey, WHITE, rng.uniform(1.4, 2.2))
    noise = float(rng.uniform(0.015, 0.035) if tesla > 2 else rng.uniform(0.025, 0.05))
    return Scanner(tesla, spacing, shape, start, knots, noise, float(rng.uniform(250, 900)))
