"""What one volume shows as it is in its file: its grid, its intensities, its lesions, and a view of one slice."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from PIL import Image

from trainers.data.cohort import Subject, naming
from trainers.data.prepare_volume import VolumeTask
from trainers.data.skull_strip import air_level
from trainers.data.volume_file import canonical_voxels, load_image, refuse_constant

LEVELS = (5, 25, 50, 75, 95)
"""Percentiles that describe intensities."""
FAINTEST = 0.1
"""What is brighter than this share of the 99th percentile is head, the rest air."""
GRID_MM = 2.0
"""Intensities are measured on every n-th voxel, about this far apart."""
WHITE = 99.5
"""Percentile of the head that a view shows as white."""
LONGEST = 176
"""Pixels of a view's longer side."""


@dataclass(frozen=True)
class View:
    """An axial slice as a picture: anterior at the top, the patient's right on the left; mm from its corner."""

    jpeg: bytes
    z: int
    """Canonical index of the slice."""
    corner: tuple[float, float]
    """Canonical edges (x, y) at the upper left corner, voxels."""
    spacing: tuple[float, float]
    """Canonical voxel size in the slice, mm."""
    size: tuple[float, float]
    """Width and height, mm."""
    boxes: np.ndarray
    """n x 4 float64: x0, y0, x1, y1 of its boxes, mm."""

    def place(self, points: np.ndarray) -> np.ndarray:
        """Canonical edges (n x 2, voxels) in the view; n x 2 float64, mm."""
        return (np.array(self.corner) - points) * self.spacing


@dataclass(frozen=True)
class VolumeFacts:
    """One volume of a cohort."""

    subject: Subject
    shape: tuple[int, int, int]
    """Canonical, voxels."""
    spacing: tuple[float, float, float]
    """Canonical voxel size, mm."""
    intensity: np.ndarray
    """LEVELS of the head, or of the brain where the volume holds nothing else, in the file's units."""
    boxes: pd.DataFrame
    """As of `read_boxes`."""
    lesions: pd.DataFrame
    """A row per 3-D lesion: diameter_mm; x, y, z (its middle from 0 = left, posterior, inferior to 1, within the extent
    of the head); brightness (95th percentile of its boxes in medians of the head)."""
    view: View

    @property
    def lesion_slices(self) -> int:
        """Axial slices with a box."""
        return int(self.boxes["z"].nunique())


def volume_facts(task: VolumeTask) -> VolumeFacts:
    """Read the volume of a task.

    Raises:
        CohortError: the volume cannot be used; names file and patient.
    """
    with naming(task.subject):
        volume, affine = canonical_voxels(load_image(task.path), task.path)
        refuse_constant(volume, task.path)
    spacing = voxel_sizes(affine)
    head, extent = _head(volume, spacing)
    x, y, z = map(float, spacing)
    i, j, k = volume.shape
    return VolumeFacts(
        task.subject,
        (i, j, k),
        (x, y, z),
        np.percentile(head, LEVELS),
        task.boxes,
        _lesions(volume, task.boxes, extent, float(np.median(head))),
        _view(volume, task.boxes, extent, (x, y), (float(head.min()), float(np.percentile(head, WHITE)))),
    )


def _head(volume: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The intensities of what is no air, and its extent: 3 x 2 canonical edges."""
    steps = np.maximum(1, np.rint(GRID_MM / spacing).astype(int))
    small = volume[:: steps[0], :: steps[1], :: steps[2]]
    air = air_level(volume)
    bright = np.abs(small - air)
    mask = bright > FAINTEST * np.percentile(bright, 99)
    if not mask.any():  # fewer than one in a hundred voxels differ from air
        mask = bright > 0 if bright.any() else np.ones_like(mask)
    bounds = []
    for axis, (step, length) in enumerate(zip(steps, volume.shape, strict=True)):
        inside = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        bounds.append([inside[0] * step, min(length, (inside[-1] + 1) * step)])
    return small[mask], np.array(bounds)


def _lesions(volume: np.ndarray, boxes: pd.DataFrame, extent: np.ndarray, middle: float) -> pd.DataFrame:
    rows = []
    low, length = extent[:, 0], np.diff(extent, axis=1)[:, 0]
    numbers, diameters = boxes["lesion"].to_numpy(), boxes["diameter_mm"].to_numpy()
    corners = boxes[["z", "x0", "y0", "x1", "y1"]].to_numpy(np.int64)
    for number in np.unique(numbers):
        own = corners[numbers == number]
        voxels = np.concatenate([volume[x0:x1, y0:y1, z].ravel() for z, x0, y0, x1, y1 in own])
        centres = np.column_stack([(own[:, 1] + own[:, 3]) / 2, (own[:, 2] + own[:, 4]) / 2, own[:, 0] + 0.5])
        areas = (own[:, 3] - own[:, 1]) * (own[:, 4] - own[:, 2])
        place = np.clip((np.average(centres, axis=0, weights=areas) - low) / length, 0, 1)
        brightness = np.percentile(voxels, 95) / middle if middle else np.nan
        rows.append([diameters[numbers == number][0], *place, brightness])
    return pd.DataFrame(rows, columns=["diameter_mm", "x", "y", "z", "brightness"], dtype=np.float64)


def _view(
    volume: np.ndarray,
    boxes: pd.DataFrame,
    extent: np.ndarray,
    spacing: tuple[float, float],
    window: tuple[float, float],
) -> View:
    """The slice with the largest box, else the middle one of the head."""
    areas = (boxes["x1"] - boxes["x0"]) * (boxes["y1"] - boxes["y0"])
    z = int(boxes["z"].iloc[int(np.argmax(areas))]) if len(boxes) else int(extent[2].mean())
    here = boxes.loc[boxes["z"] == z, ["x0", "y0", "x1", "y1"]].to_numpy(np.float64)
    (x0, x1), (y0, y1) = extent[:2]  # a box may reach beyond the head, and shall be seen there
    x0, x1 = int(min(x0, here[:, 0].min(initial=x0))), int(max(x1, here[:, 2].max(initial=x1)))
    y0, y1 = int(min(y0, here[:, 1].min(initial=y0))), int(max(y1, here[:, 3].max(initial=y1)))
    black, white = window
    grey = np.clip((volume[x0:x1, y0:y1, z] - black) * (255 / max(white - black, 1e-30)), 0, 255).astype(np.uint8)
    size = ((x1 - x0) * spacing[0], (y1 - y0) * spacing[1])
    picture = Image.fromarray(np.ascontiguousarray(grey[::-1, ::-1].T))
    shrink = LONGEST / max(size)
    pixels = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
    file = io.BytesIO()
    picture.resize(pixels, Image.Resampling.BILINEAR).save(file, "jpeg", quality=80)
    corner = (float(x1), float(y1))
    places = (np.array([*corner, *corner]) - here[:, [2, 3, 0, 1]]) * [*spacing, *spacing]
    return View(file.getvalue(), z, corner, spacing, size, places)
