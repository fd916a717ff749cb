"""Boxes on slices -> lesions of a volume, and files of them for viewers: a label map and 3D Slicer markups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

OVERLAP = 0.5
"""Share of the smaller box that two boxes of one lesion have in common at least."""
VOXELS = ["i0", "j0", "k0", "i1", "j1", "k1"]
MM = ["mm_x0", "mm_y0", "mm_z0", "mm_x1", "mm_y1", "mm_z1"]
COLUMNS = (
    "lesion", "confidence", "diameter_mm", "mm_x", "mm_y", "mm_z", *MM, *VOXELS, "first_slice", "last_slice", "boxes",
)  # fmt: skip
SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
FREE_TEXT = ("descrip", "aux_file", "intent_name", "db_name", "data_type")
"""Fields of a NIfTI header in which scanners and converters leave text."""


def link(boxes: pd.DataFrame) -> np.ndarray:
    """The lesion of each box, from 1 by falling confidence of its best box; int64.

    Boxes on one slice or on neighbours that overlap by OVERLAP belong to one lesion, and so do those linked by others.

    Args:
        boxes: as `sweep.detect.Detections.boxes`.
    """
    by_slice = {int(str(z)): rows for z, rows in boxes.reset_index(drop=True).groupby("z")}
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    for z, rows in by_slice.items():
        for other in (rows, by_slice.get(z + 1)):
            if other is not None:
                first, second = np.nonzero(_overlap(rows, other) >= OVERLAP)
                pairs.append(np.stack([rows.index.to_numpy()[first], other.index.to_numpy()[second]]))
    first, second = np.concatenate(pairs, axis=1)
    linked = coo_array((np.ones(len(first)), (first, second)), shape=(len(boxes), len(boxes)))
    _, group = connected_components(linked, directed=False)
    best = boxes["confidence"].groupby(group).max().sort_values(ascending=False, kind="stable")
    number = pd.Series(np.arange(1, len(best) + 1, dtype=np.int64), index=best.index)
    return number.loc[group].to_numpy()


def _overlap(boxes: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """The common area of each pair, as a share of the smaller one's."""
    a, b = (rows[["x0", "y0", "x1", "y1"]].to_numpy(dtype=np.float64) for rows in (boxes, others))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    smaller = np.minimum(_area(a)[:, None], _area(b)[None])
    return np.prod(np.maximum(high - low, 0), axis=2) / smaller


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def list_lesions(boxes: pd.DataFrame, lesion: np.ndarray, mm_per_pixel: float) -> pd.DataFrame:
    """One row per lesion, columns COLUMNS: the extent of its boxes, and `mm_x`, `mm_y`, `mm_z`, the middle of that.

    `diameter_mm` is the longest side of any of its boxes; millimetres are RAS+, voxels are edges in the file.
    """
    sides = np.maximum(boxes["x1"] - boxes["x0"], boxes["y1"] - boxes["y0"]) * mm_per_pixel
    groups = boxes.assign(lesion=lesion, diameter_mm=sides, boxes=1).groupby("lesion")
    rows = groups.agg(
        {
            "confidence": "max",
            "diameter_mm": "max",
            **{name: "min" if name.endswith("0") else "max" for name in (*MM, *VOXELS)},
            "boxes": "sum",
        }
    ).reset_index()
    rows["first_slice"], rows["last_slice"] = groups["z"].min().to_numpy(), groups["z"].max().to_numpy()
    for axis in "xyz":
        rows[f"mm_{axis}"] = (rows[f"mm_{axis}0"] + rows[f"mm_{axis}1"]) / 2
    return rows[list(COLUMNS)]


def write_lesions(volume: Nifti1Image, boxes: pd.DataFrame, lesion: np.ndarray, rows: pd.DataFrame, out: Path) -> None:
    """Write `lesions.csv`, `lesions.nii.gz` and `lesions.mrk.json` into the folder `out`."""
    rows.assign(mm_space="RAS+").to_csv(out / "lesions.csv", index=False)
    nib.save(label_map(volume, boxes, lesion), out / "lesions.nii.gz")  # type: ignore[attr-defined]
    (out / "lesions.mrk.json").write_text(json.dumps(markups(rows), indent=2))


def label_map(volume: Nifti1Image, boxes: pd.DataFrame, lesion: np.ndarray) -> Nifti1Image:
    """The boxes as `on_grid`, each filled with its lesion's number; the more confident on top."""
    labels = np.zeros(volume.shape, dtype=np.uint16)
    order = np.argsort(boxes["confidence"].to_numpy(), kind="stable")
    edges = np.rint(boxes[VOXELS].to_numpy(dtype=np.float64)).astype(np.int64)
    for low, high, number in zip(edges[order, :3], edges[order, 3:], lesion[order], strict=True):
        low = np.clip(low, 0, np.array(volume.shape) - 1)
        i, j, k = map(slice, low, np.maximum(high, low + 1))
        labels[i, j, k] = number
    return on_grid(volume, labels)


def on_grid(volume: Nifti1Image, labels: np.ndarray) -> Nifti1Image:
    """Labels (unsigned integers, one per voxel) as an image on the grid of the volume's file.

    The header places the labels as that of the volume does; text that it may hold is left out.
    """
    header = volume.header.copy()
    for field in FREE_TEXT:
        if field in header:
            header[field] = b""
    header["cal_min"] = header["cal_max"] = 0
    header.extensions.clear()
    header.set_data_dtype(labels.dtype)
    image = type(volume)(labels, volume.affine, header)
    image.header.set_slope_inter(1, 0)
    return image


def markups(rows: pd.DataFrame) -> dict[str, Any]:
    """A point list of 3D Slicer with the middle of each lesion, in its LPS: x to the left, y to posterior."""
    points = [
        {
            "id": str(int(row["lesion"])),
            "label": f"lesion {int(row['lesion'])}",
            "description": f"confidence {row['confidence']:.2f}, {row['diameter_mm']:.1f} mm",
            "position": [round(-row["mm_x"], 3), round(-row["mm_y"], 3), round(row["mm_z"], 3)],
            "positionStatus": "defined",
        }
        for row in rows.to_dict("records")
    ]
    fiducials = {"type": "Fiducial", "name": "lesions", "coordinateSystem": "LPS", "coordinateUnits": "mm"}
    return {"@schema": SCHEMA, "markups": [{**fiducials, "controlPoints": points}]}
