"""Lesions of a volume as rough 2-D boxes per axial slice, from a boxes file or from a mask.

A boxes file is a CSV with the columns z, x0, y0, x1, y1: voxel indices in the volume reoriented to closest canonical
(RAS+), x first axis, y second, z third; x1 and y1 exclusive. Other columns are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation
from nibabel.spatialimages import SpatialImage
from scipy import ndimage

from trainers.data.cohort import Cohort, Subject, naming
from trainers.data.mask import components, lesion_voxels, same_grid
from trainers.data.volume_file import load_image
from trainers.documents import read_table, shown
from trainers.exceptions import CohortError, NoLesionError

COLUMNS = ["z", "x0", "y0", "x1", "y1"]
WHOLE = re.compile(r"\d{1,9}(\.0*)?", re.ASCII)
"""A whole number, as pandas writes it in a column of numbers, too."""
MOST_BOXES = 100_000
"""Of one volume: a hundred times what the most lesions make on every slice."""


def read_boxes(cohort: Cohort, subject: Subject) -> pd.DataFrame:
    """The boxes of one volume, sorted by z: int columns z, x0, y0, x1, y1 (canonical voxels) and `lesion`, and
    float64 `diameter_mm`.

    Boxes of one 3-D lesion share a `lesion` number: the 26-connected component of the mask, or boxes that touch from
    slice to slice. From a mask, a box is the tight box of an 8-connected 2-D component; `rough` widens it.

    `diameter_mm` is a lesion's size, the same in all its boxes: the longest side, in millimetres, that any of them has
    on any slice. From a mask that is the lesion's own extent; of a boxes file the sides count as drawn.

    Raises:
        NoLesionError: the annotation of a tumour volume shows no lesion.
        CohortError: a file cannot be read, or has another form than its volume asks for; names file and patient.
    """
    with naming(subject):
        image = load_image(cohort.path(subject.volume))
        if subject.boxes is not None:
            boxes = _from_file(cohort.path(subject.boxes), canonical_shape(image))
            if subject.mask is not None:
                read_lesions(cohort.path(subject.mask), subject.mask_labels, image)  # refused if it is wrong
        elif subject.mask is not None:
            boxes = _from_mask(read_lesions(cohort.path(subject.mask), subject.mask_labels, image))
        else:
            boxes = pd.DataFrame({column: np.zeros(0, dtype=np.int64) for column in [*COLUMNS, "lesion"]})
    boxes["diameter_mm"] = _diameters(boxes, _canonical(image, voxel_sizes(image.affine)))
    return boxes.sort_values(COLUMNS).reset_index(drop=True)


def rough(boxes: np.ndarray, spacing: np.ndarray, margin_mm: float, generator: np.random.Generator) -> np.ndarray:
    """Widen boxes (n x 4 voxel edges: x0, y0, x1, y1) on each side by its own 0 to `margin_mm`; n x 4 float64."""
    grow = generator.uniform(0, margin_mm, size=(len(boxes), 4)) / spacing[[0, 1, 0, 1]]
    return boxes + grow * [-1, -1, 1, 1]


def _diameters(boxes: pd.DataFrame, spacing: np.ndarray) -> pd.Series:
    """For each box the longest side of any box of its lesion, mm; `spacing` is that of canonical voxels."""
    sides = pd.concat([(boxes["x1"] - boxes["x0"]) * spacing[0], (boxes["y1"] - boxes["y0"]) * spacing[1]], axis=1)
    return sides.max(axis=1).groupby(boxes["lesion"]).transform("max").astype(np.float64)


def _from_file(path: Path, shape: Sequence[int]) -> pd.DataFrame:
    line_of: dict[tuple[int, ...], int] = {}
    for line, cells in read_table(path, CohortError, COLUMNS):
        box = _whole_box([cells[column] for column in COLUMNS], shape)
        if box is None:
            raise CohortError(
                f"{path}: line {line} is {shown({column: cells[column] for column in COLUMNS})}; allowed: whole "
                f"numbers with x0 < x1 and y0 < y1 inside the canonical volume of {tuple(shape)} voxels (x1 and y1 "
                "exclusive)."
            )
        if line_of.setdefault(box, line) != line:
            raise CohortError(
                f"{path}: line {line} is the box of line {line_of[box]} again; allowed: once. Remove one."
            )
        if len(line_of) > MOST_BOXES:
            raise CohortError(f"{path}: line {line}: holds more than {MOST_BOXES:,} boxes; allowed: up to that.")
    if not line_of:
        raise NoLesionError(
            f'{path}: holds no box, but the volume\'s kind is "tumour"; needed: at least one. Add its lesions, leave '
            'the volume out, or make the patient "normal" without boxes.'
        )
    boxes = pd.DataFrame(np.array(list(line_of), dtype=np.int64).reshape(-1, len(COLUMNS)), columns=COLUMNS)
    painted = np.zeros(shape, dtype=bool)
    for z, x0, y0, x1, y1 in boxes.to_numpy():
        painted[x0:x1, y0:y1, z] = True
    labels = components(painted)
    boxes["lesion"] = labels[boxes["x0"], boxes["y0"], boxes["z"]].astype(np.int64)
    return boxes


def _whole_box(cells: Sequence[str], shape: Sequence[int]) -> tuple[int, ...] | None:
    """z, x0, y0, x1, y1 of a line; None if they make no box inside the volume."""
    if not all(WHOLE.fullmatch(cell) for cell in cells):
        return None
    z, x0, y0, x1, y1 = box = tuple(int(cell.partition(".")[0]) for cell in cells)
    return box if z < shape[2] and x0 < x1 <= shape[0] and y0 < y1 <= shape[1] else None


def read_lesions(path: Path, labels: tuple[int, ...] | None, image: SpatialImage) -> np.ndarray:
    """The lesion voxels of a volume's mask in canonical order, bool; CohortError as `read_boxes`."""
    mask = load_image(path, mask=True)
    same_grid(mask, path, image)
    return lesion_voxels(mask, path, labels)


def _from_mask(lesion: np.ndarray) -> pd.DataFrame:
    labels = components(lesion)
    rows: list[list[int]] = []
    for z in np.flatnonzero(lesion.any(axis=(0, 1))):
        parts = components(lesion[:, :, z])
        for number, region in enumerate(ndimage.find_objects(parts), start=1):
            if region is None:
                continue
            x, y = region
            inside = labels[x, y, z][parts[x, y] == number]
            rows.append([int(z), x.start, y.start, x.stop, y.stop, int(inside[0])])
    return pd.DataFrame(np.array(rows, dtype=np.int64).reshape(-1, 6), columns=[*COLUMNS, "lesion"])


def canonical_shape(image: SpatialImage) -> list[int]:
    """Lengths of the canonical axes, voxels; reads no voxels."""
    return _canonical(image, image.shape).astype(int).tolist()


def _canonical(image: SpatialImage, of_axes: Sequence[float] | np.ndarray) -> np.ndarray:
    """What the axes of the file have (a length, a voxel size), for the canonical axes; reads no voxels."""
    moved = np.empty(3)
    moved[io_orientation(image.affine)[:, 0].astype(int)] = of_axes
    return moved
