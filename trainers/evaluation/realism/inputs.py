"""What realism's figures are about: synthetic, training and held-out slices in memory, and what is refused of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.data.slice_set import SliceSet
from trainers.detector.selection import trained_on_synthetic
from trainers.evaluation.evaluate import check_size
from trainers.evaluation.realism.config import FEWEST
from trainers.evaluation.realism.similarity import WINDOW
from trainers.exceptions import SliceSetError, TrainingError


@dataclass(frozen=True)
class LoadedSlices:
    """Some slices in memory with their boxes and patients."""

    images: np.ndarray
    """N x S x S uint8."""
    boxes: list[np.ndarray]
    """For each slice n x 4 (x0, y0, x1, y1), pixels."""
    patients: np.ndarray
    """For each slice its patient, text."""

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> LoadedSlices:
        """The first `count` of them."""
        return LoadedSlices(self.images[:count], self.boxes[:count], self.patients[:count])


def synthetic_slices(shards: Sequence[SliceSet], slices: SliceSet, count: int) -> LoadedSlices:
    """The first `count` slices of a GAN's shards; SliceSetError where they are real, few or of another size."""
    for shard in shards:
        if not shard.is_synthetic:
            raise SliceSetError(
                f"{shard.path} holds real slices; needed: synthetic ones, which `metsweep synthesize` draws."
            )
        if shard.size != slices.size:
            raise SliceSetError(
                f"{shard.path}: synthetic slices are {shard.size} x {shard.size} pixels, real ones in {slices.path} "
                f"{slices.size} x {slices.size}; allowed: equal. Needed: the slice set that the GAN was trained on."
            )
    images = np.concatenate([shard.images for shard in shards])[:count]
    boxes = [of_slice for shard in shards for of_slice in shard.boxes_by_slice()][:count]
    where = ", ".join(str(shard.path) for shard in shards)
    if len(images) < FEWEST:
        raise SliceSetError(f"{where}: {len(images)} synthetic slices; needed: {FEWEST} or more. Draw more of them.")
    if not sum(map(len, boxes)):
        raise SliceSetError(f"{where}: no synthetic slice has a conditioning box; needed: at least one.")
    return LoadedSlices(images, boxes, np.full(len(images), "synthetic"))


def tumour_rows(slices: SliceSet, splits: Sequence[str]) -> np.ndarray:
    """Rows of the slices with tumours in some splits."""
    table = slices.slices
    return np.flatnonzero((table["split"].isin(splits) & (table["kind"] == "tumour")).to_numpy())


def real_slices(slices: SliceSet, splits: Sequence[str]) -> LoadedSlices:
    """The slices with tumours of some splits."""
    rows = tumour_rows(slices, splits)
    boxes = slices.boxes_by_slice()
    patients = slices.slices["patient_id"].to_numpy(dtype=str)[rows]
    return LoadedSlices(slices.images[rows], [boxes[row] for row in rows], patients)


def check_real(slices: SliceSet, training: LoadedSlices, held_out: LoadedSlices) -> None:
    """Raises SliceSetError where training or held-out slices are too few or too small to compare."""
    for loaded, splits in ((training, "training split"), (held_out, "validation and test splits")):
        boxes = sum(map(len, loaded.boxes))
        if len(loaded) < 2 or not boxes:
            raise SliceSetError(
                f"{slices.path}: {len(loaded)} slices with tumours and {boxes} boxes in the {splits}; "
                "needed: at least 2 slices and a box. Held-out patients show what slices of new patients score: "
                "prepare the cohort with all three splits."
            )
    if slices.size < WINDOW:
        raise SliceSetError(f"{slices.path}: slices of {slices.size} pixels; allowed: {WINDOW} or more.")


def check_detector(detector_dir: Path, slices: SliceSet) -> None:
    """Raises TrainingError unless the detector fits the slices and was trained on real ones only."""
    check_size(detector_dir, slices)
    if drawn := trained_on_synthetic(detector_dir):
        raise TrainingError(
            f"{detector_dir} was trained with {drawn} synthetic slices, so that it may recognise a GAN's tumours; "
            "needed: a detector trained on real slices only (`metsweep train detector` without --synthetic)."
        )


def shuffled(slices: LoadedSlices, draw: np.random.Generator) -> LoadedSlices:
    """The same slices in random order."""
    order = draw.permutation(len(slices))
    return LoadedSlices(slices.images[order], [slices.boxes[i] for i in order], slices.patients[order])
