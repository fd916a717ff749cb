"""One annotated volume -> its slices, their boxes, and what meta.json says about it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image
from pydantic import Field

from trainers.config import Config, Seed
from trainers.data.annotation import canonical_shape, read_lesions, rough
from trainers.data.cohort import Subject, naming
from trainers.data.geometry import SliceGeometry
from trainers.data.kept_lesions import Lesions, lesions_of_boxes
from trainers.data.mask import components
from trainers.data.slice_set import Kind, SliceSet
from trainers.data.stratified import Fold
from trainers.data.strip_program import strip_program
from trainers.data.strip_quality import mask_shape
from trainers.data.volume import SliceConfig, VolumeSlices, volume_slices
from trainers.exceptions import ClusterError, CohortError


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
    train_patients: int | None = Field(default=None, ge=1, le=100_000, exclude_if=lambda value: value is None)
    """Tumour patients of the training split that are used; none = all of them. They come in one random order, which
    `seed` decides, so that a larger number only adds patients. Normal subjects, validation and test stay."""
    fold: Fold | None = Field(default=None, exclude_if=lambda value: value is None)
    """The split is this fold of the tumour patients, whatever the manifest says: the fold is the test split, the next
    fold the validation split, and all others train. `seed` divides them as `metsweep cohort split --folds` does."""
    on_error: Literal["refuse", "drop"] = Field(default="refuse", exclude_if=lambda value: value == "refuse")
    """What becomes of a cohort with volumes that cannot be used: refused, with all of them listed, or prepared without
    them, and they are listed in `meta.json`. Decides a stage's key only as `drop`."""


@dataclass(frozen=True)
class VolumeTask:
    """What to prepare of one volume."""

    subject: Subject
    stem: str
    """Begins the ids of its slices."""
    files: Mapping[str, Path]
    """Key of the subject -> file."""
    boxes: pd.DataFrame
    program: str
    """What strips its skull, with its version: as `strip_program`."""
    key: str
    """Of its result: decided by all that decides the result."""

    @property
    def path(self) -> Path:
        """Of the volume."""
        return self.files["volume"]

    def lesions(self, image: Nifti1Image) -> Lesions:
        """Of its mask, else of its boxes; the mask's parts are numbered as `read_boxes` does.

        Raises:
            CohortError: the mask cannot be read.
        """
        if "mask" not in self.files:
            return lesions_of_boxes(self.boxes, canonical_shape(image))
        labels = components(read_lesions(self.files["mask"], self.subject.mask_labels, image))
        return Lesions(labels, labels)


class VolumeRows(Config):
    """What a slice set lists of one volume, whatever split it is in."""

    slices: tuple[tuple[str, Kind, int], ...]
    """slice_id, kind and z of each slice."""
    boxes: tuple[tuple[str, int, int, int, int, int, float], ...]
    """slice_id, x0, y0, x1, y1, lesion and diameter_mm of each box."""
    about: dict[str, Any]
    """For meta.json."""


@dataclass(frozen=True)
class PreparedVolume:
    """The slices of one volume, and their rows."""

    images: np.ndarray
    """N x S x S uint8."""
    signature: np.ndarray
    """As of `VolumeSlices`."""
    rows: VolumeRows


@dataclass(frozen=True)
class BrokenVolume:
    """A volume that cannot be used."""

    reason: str


Outcomes = Generator[tuple[VolumeTask, PreparedVolume | BrokenVolume], None, None]
Run = Callable[[Sequence[VolumeTask], PrepareConfig], Outcomes]
"""Prepares volumes somewhere; the outcomes come in any order."""


def prepare_or_reason(task: VolumeTask, config: PrepareConfig) -> PreparedVolume | BrokenVolume:
    """As `prepare_volume`, with its error as a value, which comes back from other processes as it is.

    Raises:
        ClusterError: this machine strips skulls with another program than the task names.
    """
    if (here := strip_program(config.strip)) != task.program:
        raise ClusterError(
            f"{platform.node()} would strip skulls with {here}, but the cohort is prepared with {task.program}. "
            "Install the same version on every machine that prepares volumes."
        )
    try:
        return prepare_volume(task, config)
    except CohortError as error:
        return BrokenVolume(str(error))


def prepare_here(tasks: Sequence[VolumeTask], config: PrepareConfig) -> Outcomes:
    """Prepare one volume after the other in this process, with its threads."""
    for task in tasks:
        yield task, prepare_or_reason(task, config)


def prepare_volume(task: VolumeTask, config: PrepareConfig) -> PreparedVolume:
    """Slices and boxes of one volume.

    Raises:
        CohortError: the volume cannot be used, or all its boxes lie outside the brain; names file and patient.
    """
    subject = task.subject
    with naming(subject):
        lesions = task.lesions if subject.kind == "tumour" else None
        annotated_z = task.boxes["z"].unique()
        volume = volume_slices(task.path, config, subject.stripped, annotated_z, task.files.get("brain"), lesions)
    ids = [f"{task.stem}-z{z:03d}" for z in volume.z]
    boxes, counts = _pixel_boxes(task, config, volume)
    if len(task.boxes) and not boxes:
        raise CohortError(
            f"patient {subject.patient_id!r}: {task.path}: all {len(task.boxes)} boxes of its lesions lie outside the "
            "brain. Check whether they were drawn on another volume or grid; else leave the volume out."
        )
    boxed = {box[0] for box in boxes}
    with_box = np.array([slice_id in boxed for slice_id in ids])
    annotated = np.isin(volume.z, task.boxes["z"])
    lesion_free = ~annotated & volume.enough_brain & (subject.kind == "normal" or config.lesion_free_slices == "keep")
    keep = np.flatnonzero(with_box | lesion_free)
    about = {
        "geometry": volume.geometry.to_json(),
        "brain_ml": round(volume.brain_ml, 1),
        "came_stripped": volume.stripped,
        "strip": {
            **_stripped_by(task, config, volume.stripped),
            **mask_shape(volume.mask, np.array(volume.geometry.spacing)),
        },
        "slices": len(keep),
        "boxes": len(boxes),
        **counts,
    }
    if volume.lesions_cut:
        about["lesions_cut"] = [lesion.model_dump() for lesion in volume.lesions_cut]
    slices: list[tuple[str, Kind, int]] = [
        (ids[row], "tumour" if with_box[row] else "normal", int(volume.z[row])) for row in keep
    ]
    rows = VolumeRows(slices=tuple(slices), boxes=tuple(boxes), about=about)
    return PreparedVolume(volume.images[keep], volume.signature, rows)


def _stripped_by(task: VolumeTask, config: PrepareConfig, came_stripped: bool) -> dict[str, str]:
    if "brain" in task.files:
        return {"method": "given"}
    return {"method": "none"} if came_stripped else {"method": config.strip.method, "program": task.program}


def geometry_of(slices: SliceSet, volume: str) -> SliceGeometry | None:
    """Where the slices of a volume lie in its file; None for a set that was not prepared from volumes."""
    fields = slices.meta.get("volumes", {}).get(volume)
    return None if fields is None else SliceGeometry.from_json(fields["geometry"])


def _pixel_boxes(
    task: VolumeTask, config: PrepareConfig, volume: VolumeSlices
) -> tuple[list[tuple[str, int, int, int, int, int, float]], dict[str, int]]:
    """The boxes of one volume in whole pixels, and how many were widened, were cut at the border of the slice, or are
    left out because they lie outside the brain, as does all of their lesion or all that the slice shows in them."""
    spacing = np.array(volume.geometry.spacing)
    row_of = {int(z): row for row, z in enumerate(volume.z)}
    rows: list[tuple[str, int, int, int, int, int, float]] = []
    outside = enlarged = cut = 0
    for z, table in task.boxes.groupby("z"):
        slice_id = f"{task.stem}-z{z:03d}"
        shown = _shown(table, int(str(z)), volume)
        voxels = table[["x0", "y0", "x1", "y1"]].to_numpy(dtype=np.float64)
        if task.subject.boxes is None:
            generator = np.random.default_rng([config.seed, *slice_id.encode()])
            voxels = rough(voxels, spacing, config.rough_margin_mm, generator)
        pixels = np.rint(volume.geometry.to_pixels(voxels)).astype(np.int64)
        brain = volume.brain[row_of[int(str(z))]]
        for uncut, seen, lesion, diameter in zip(pixels, shown, table["lesion"], table["diameter_mm"], strict=True):
            box = np.clip(uncut, 0, config.size)
            wide = _at_least(box, config.min_box_pixels, config.size)
            beside = (uncut[:2] >= config.size).any() or (uncut[2:] <= 0).any()
            if beside or not seen or not brain[wide[1] : wide[3], wide[0] : wide[2]].any():
                outside += 1
                continue
            cut += int((box != uncut).any())
            enlarged += int((wide != box).any())
            x0, y0, x1, y1 = wide.tolist()
            rows.append((slice_id, x0, y0, x1, y1, int(lesion), float(diameter)))
    counts = {"boxes_widened": enlarged, "boxes_cut": cut, "boxes_outside_brain": outside}
    return list(dict.fromkeys(rows)), counts  # in pixels, two boxes of a lesion can become the same


def _shown(boxes: pd.DataFrame, z: int, volume: VolumeSlices) -> list[bool]:
    """Whether the brain holds a voxel of what is lesion in each of a slice's boxes, as annotated; True where none is
    known."""
    lesion, mask = volume.lesions[:, :, z], volume.mask[:, :, z]
    shown = []
    for x0, y0, x1, y1 in boxes[["x0", "y0", "x1", "y1"]].to_numpy(np.int64):
        voxels = lesion[x0:x1, y0:y1]
        shown.append(not voxels.any() or bool((voxels & mask[x0:x1, y0:y1]).any()))
    return shown


def _at_least(box: np.ndarray, least: int, size: int) -> np.ndarray:
    """The box (x0, y0, x1, y1) widened about its middle to `least` pixels where it is less, and kept inside."""
    low, high = box[:2], box[2:]
    lacking = np.maximum(least - (high - low), 0)
    low = np.clip(low - lacking // 2, 0, size - np.maximum(high - low, least))
    return np.concatenate([low, low + np.maximum(high - box[:2], least)])
