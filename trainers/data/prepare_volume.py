"""One annotated volume -> its rows of a slice set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from trainers.config import Seed
from trainers.data.annotation import rough
from trainers.data.cohort import Subject, naming
from trainers.data.slice_set import BOX_COLUMNS, SLICE_COLUMNS
from trainers.data.volume import SliceConfig, VolumeSlices, volume_slices
from trainers.exceptions import CohortError

ROW_COLUMNS = [*SLICE_COLUMNS, "subject_kind"]
LABELLED_BOX_COLUMNS = [*BOX_COLUMNS, "lesion", "diameter_mm"]


class PrepareConfig(SliceConfig):
    """Which slices and boxes a slice set has."""

    lesion_free_slices: Literal["drop", "keep"] = "drop"
    """Slices of tumour patients without any box: the paper has none; kept, they are of kind `normal`."""
    rough_margin_mm: float = Field(default=3.0, ge=0.0, le=20.0)
    """A box made from a mask is widened on each side by up to this much, as a hurried annotator would draw it."""
    min_box_pixels: int = Field(default=4, ge=1, le=64)
    """Smaller boxes are widened to this, since a detector cannot learn boxes below its grid."""
    seed: Seed = 0
    """Decides splits that the manifest leaves open, and the rough margins."""


@dataclass(frozen=True)
class VolumeTask:
    """What to prepare of one volume; `stem` begins its slice ids."""

    subject: Subject
    stem: str
    path: Path
    boxes: pd.DataFrame


@dataclass(frozen=True)
class PreparedVolume:
    """The rows of one volume in a slice set, and what meta.json says about it."""

    images: np.ndarray
    slices: pd.DataFrame
    boxes: pd.DataFrame
    about: dict[str, Any]
    signature: np.ndarray
    """As of `VolumeSlices`."""


def prepare_volume(task: VolumeTask, config: PrepareConfig) -> PreparedVolume:
    """Slices and boxes of one volume.

    Raises:
        CohortError: the volume cannot be used, or all its boxes lie outside the brain; names file and patient.
    """
    subject = task.subject
    with naming(subject):
        volume = volume_slices(task.path, config, subject.stripped, also=task.boxes["z"].unique())
    ids = [f"{task.stem}-z{z:03d}" for z in volume.z]
    boxes, counts = _pixel_boxes(task, config, volume)
    if len(task.boxes) and boxes.empty:
        raise CohortError(
            f"patient {subject.patient_id!r}: {task.path}: all {len(task.boxes)} boxes of its lesions lie outside the "
            "brain. Check whether they were drawn on another volume or grid; else leave the volume out."
        )
    boxed = set(boxes["slice_id"])
    with_box = np.array([slice_id in boxed for slice_id in ids])
    annotated = np.isin(volume.z, task.boxes["z"])
    lesion_free = ~annotated & volume.enough_brain & (subject.kind == "normal" or config.lesion_free_slices == "keep")
    keep = np.flatnonzero(with_box | lesion_free)
    slices = pd.DataFrame(
        {
            "slice_id": [ids[i] for i in keep],
            "patient_id": subject.patient_id,
            "split": subject.split,
            "scanner": subject.scanner,
            "kind": ["tumour" if with_box[i] else "normal" for i in keep],
            "volume": subject.volume,
            "z": volume.z[keep],
            "subject_kind": subject.kind,
        },
        columns=ROW_COLUMNS,
    )
    about = {
        "patient_id": subject.patient_id,
        "geometry": volume.geometry.to_json(),
        "brain_ml": round(volume.brain_ml, 1),
        "came_stripped": volume.stripped,
        "slices": len(keep),
        "boxes": len(boxes),
        **counts,
    }
    return PreparedVolume(volume.images[keep], slices, boxes, about, volume.signature)


def _pixel_boxes(task: VolumeTask, config: PrepareConfig, volume: VolumeSlices) -> tuple[pd.DataFrame, dict[str, int]]:
    """The boxes of one volume in whole pixels, and how many were widened, were cut at the border of the slice, or are
    left out because they lie outside the brain."""
    spacing = np.array(volume.geometry.spacing)
    row_of = {int(z): row for row, z in enumerate(volume.z)}
    rows: list[tuple[str | int | float, ...]] = []
    outside = enlarged = cut = 0
    for z, table in task.boxes.groupby("z"):
        slice_id = f"{task.stem}-z{z:03d}"
        voxels = table[["x0", "y0", "x1", "y1"]].to_numpy(dtype=np.float64)
        if task.subject.boxes is None:
            generator = np.random.default_rng([config.seed, *slice_id.encode()])
            voxels = rough(voxels, spacing, config.rough_margin_mm, generator)
        pixels = np.rint(volume.geometry.to_pixels(voxels)).astype(np.int64)
        brain = volume.brain[row_of[int(str(z))]] >= 0.5
        for uncut, lesion, diameter in zip(pixels, table["lesion"], table["diameter_mm"], strict=True):
            box = np.clip(uncut, 0, config.size)
            wide = _at_least(box, config.min_box_pixels, config.size)
            beside = (uncut[:2] >= config.size).any() or (uncut[2:] <= 0).any()
            if beside or not brain[wide[1] : wide[3], wide[0] : wide[2]].any():
                outside += 1
                continue
            cut += int((box != uncut).any())
            enlarged += int((wide != box).any())
            rows.append((slice_id, *wide.tolist(), int(lesion), float(diameter)))
    counts = {"boxes_widened": enlarged, "boxes_cut": cut, "boxes_outside_brain": outside}
    return pd.DataFrame(rows, columns=LABELLED_BOX_COLUMNS), counts


def _at_least(box: np.ndarray, least: int, size: int) -> np.ndarray:
    """The box (x0, y0, x1, y1) widened about its middle to `least` pixels where it is less, and kept inside."""
    low, high = box[:2], box[2:]
    lacking = np.maximum(least - (high - low), 0)
    low = np.clip(low - lacking // 2, 0, size - np.maximum(high - low, least))
    return np.concatenate([low, low + np.maximum(high - box[:2], least)])


def join_rows(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """One frame of several, with the columns even without rows."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
