"""What `metsweep cohort check` says of annotation that can be used, but contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from nibabel.funcs import as_closest_canonical

from trainers.config import Config
from trainers.data.annotation import read_lesions
from trainers.data.cohort import naming
from trainers.data.cohort_cache import CohortCache
from trainers.data.kept_lesions import give_back
from trainers.data.mask import components
from trainers.data.prepare_volume import PrepareConfig, VolumeTask
from trainers.data.skull_strip import brain_ml
from trainers.data.strip_quality import mask_shape, odd_masks
from trainers.data.volume import read_brain
from trainers.data.volume_file import load_image
from trainers.distributed import OnProgress

MOST_SLICES = 5
"""Of a volume that one remark lists."""


class Checked(Config):
    """What the files of one volume say of each other."""

    remarks: tuple[str, ...] = ()
    """For people, without the patient."""
    brain_ml: float = 0.0
    """Of the given mask of the brain."""
    strip: dict[str, int | float] | None = None
    """Its shape, as `mask_shape`; None if no mask is given."""


def annotation_remarks(
    tasks: Sequence[VolumeTask], config: PrepareConfig, cache: CohortCache, on_progress: OnProgress
) -> list[str]:
    """A line for each contradiction: boxes and masks that disagree, and given masks of the brain that cut lesions away
    or look unlike the others. Of volumes that passed `check_volume`.
    """
    several = [task for task in tasks if "brain" in task.files or {"boxes", "mask"} <= task.files.keys()]
    remarks: list[str] = []
    brains: dict[str, dict[str, object]] = {}
    for number, task in enumerate(several, start=1):
        checked = cache.made(["annotation check", task.key], Checked, partial(_checked, task, config))
        remarks += [f"patient {task.subject.patient_id!r}: {remark}" for remark in checked.remarks]
        if checked.strip is not None:
            brains[str(task.files["brain"])] = {"brain_ml": checked.brain_ml, "strip": checked.strip}
        on_progress(number, len(several), {})
    return remarks + [f"{path}: look at this mask of the brain: {reason}" for path, reason in odd_masks(brains).items()]


def _checked(task: VolumeTask, config: PrepareConfig) -> Checked:
    with naming(task.subject):
        image = load_image(task.path)
        remarks: list[str] = []
        if {"boxes", "mask"} <= task.files.keys():
            lesion = read_lesions(task.files["mask"], task.subject.mask_labels, image)
            remarks += _disagreement(task, list(_by_slice(task.boxes, lesion)))
        if "brain" not in task.files:
            return Checked(remarks=tuple(remarks))
        path, spacing = task.files["brain"], voxel_sizes(as_closest_canonical(image).affine)
        mask = read_brain(path, image)
        ml = brain_ml(mask, spacing, str(path), "given mask of the brain")
        if task.subject.kind == "tumour":
            _, cut = give_back(mask, task.lesions(image), spacing, config.strip)
            remarks += [f"{path}: {lesion}" for lesion in cut if lesion.counts]
    return Checked(remarks=tuple(remarks), brain_ml=ml, strip=mask_shape(mask, spacing))


@dataclass(frozen=True)
class _Slice:
    z: int
    boxes: int
    """Boxes in which the mask shows no lesion."""
    lesions: int
    """Lesions of the mask that no box touches."""

    def __str__(self) -> str:
        return f"slice {self.z} (boxes without lesion: {self.boxes}, lesions without box: {self.lesions})"


def _disagreement(task: VolumeTask, slices: list[_Slice]) -> list[str]:
    if not slices:
        return []
    more = f", and {len(slices) - MOST_SLICES} more slices" if len(slices) > MOST_SLICES else ""
    first = ", ".join(map(str, slices[:MOST_SLICES]))
    return [f"{task.files['boxes']}, which is used, contradicts {task.files['mask']} on {first}{more}"]


def _by_slice(boxes: pd.DataFrame, lesion: np.ndarray) -> Iterator[_Slice]:
    """Slices on which boxes and mask disagree."""
    for z in np.union1d(boxes["z"], np.flatnonzero(lesion.any(axis=(0, 1)))).tolist():
        parts = components(lesion[:, :, z])
        rows = boxes.loc[boxes["z"] == z, ["x0", "y0", "x1", "y1"]].to_numpy()
        within = [np.unique(parts[x0:x1, y0:y1]) for x0, y0, x1, y1 in rows]
        touched = set(np.concatenate([[0], *within]).tolist()) - {0}
        without = sum(not inside.any() for inside in within)
        if without or len(touched) < parts.max():
            yield _Slice(z, without, int(parts.max()) - len(touched))
