"""Which training slices are shown when: a pure function of the images shown, so that resuming is exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainers.data.conditions import conditioning_images, transform_boxes
from trainers.data.slice_set import SliceSet
from trainers.exceptions import TrainingError
from trainers.gan.config import GANConfig


@dataclass(frozen=True)
class Batch:
    """Some training slices and their conditioning images."""

    images: np.ndarray
    """N x H x W uint8."""
    conditions: np.ndarray
    """N x H x W uint8."""
    boxes: list[np.ndarray]
    """For each slice n x 4 (x0, y0, x1, y1), pixels."""


class TrainingSlices:
    """One worker's view of the training split.

    All workers walk the same shuffled order, epoch by epoch; at each step a worker takes its share of the next
    `batch_size` slices. What a step shows does not depend on the number of workers.
    """

    def __init__(self, config: GANConfig, slices: SliceSet, rank: int, world_size: int) -> None:
        """Raises TrainingError when the slice set or the number of workers does not fit the config."""
        check_fits(config, slices, world_size)
        self._config = config
        self._slices = slices
        self._boxes = slices.boxes_by_slice()
        self._tumour = slices.indices("train", "tumour")
        self._normal = _normal_rows(slices) if config.traits.needs_normals else self._tumour[:0]
        groups = config.batch_size // config.group
        bounds = [config.group * (groups * part // world_size) for part in (rank, rank + 1)]
        self.share = range(*bounds)
        """This worker's places in a step's `batch_size` slices."""
        self._epoch = -1
        self._order = self._order_of(0)

    def batch(self, images_shown: int) -> Batch:
        """This worker's slices of the step that follows `images_shown` images (of all workers)."""
        rows = [self._row(images_shown + place) for place in self.share]
        rng = np.random.default_rng([self._config.seed, 1, images_shown])
        mirrored = (rng.random(self._config.batch_size) < (0.5 if self._config.horizontal_flip else 0.0))[self.share]
        size = self._slices.size
        images = np.stack(
            [
                self._slices.images[row][:, ::-1] if mirror else self._slices.images[row]
                for row, mirror in zip(rows, mirrored, strict=True)
            ]
        )
        boxes = [
            transform_boxes(self._boxes[row], size, mirror_x=bool(mirror), mirror_y=False, shift=(0.0, 0.0), zoom=1.0)
            for row, mirror in zip(rows, mirrored, strict=True)
        ]
        return Batch(images, conditioning_images(boxes, size), boxes)

    def examples(self, count: int) -> Batch:
        """The same tumour slices at every call, as they are: at most `count`."""
        rng = np.random.default_rng([self._config.seed, 2])
        rows = rng.permutation(self._tumour)[:count]
        boxes = [self._boxes[row] for row in rows]
        images = np.stack([self._slices.images[row] for row in rows])
        return Batch(images, conditioning_images(boxes, self._slices.size), boxes)

    def _row(self, position: int) -> int:
        epoch, offset = divmod(position, len(self._order))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = self._order_of(epoch)
        return int(self._order[offset])

    def _order_of(self, epoch: int) -> np.ndarray:
        """Rows in the order of one epoch; every epoch has as many."""
        rng = np.random.default_rng([self._config.seed, 0, epoch])
        share = self._config.normal_share
        normal = self._normal
        if share is not None and len(normal):
            wanted = max(1, round(len(self._tumour) * share / (1.0 - share)))
            normal = rng.choice(normal, wanted, replace=wanted > len(normal))
        return rng.permutation(np.concatenate([self._tumour, normal]))


def _normal_rows(slices: SliceSet) -> np.ndarray:
    """Training slices of normal subjects, without lesion-free slices of tumour patients if these are marked."""
    rows = slices.indices("train", "normal")
    if "subject_kind" not in slices.slices:
        return rows
    return rows[slices.slices["subject_kind"].to_numpy()[rows] == "normal"]


def check_fits(config: GANConfig, slices: SliceSet, world_size: int) -> None:
    """Raises TrainingError when the slice set or the number of workers does not fit the config."""
    if slices.size != config.resolution:
        raise TrainingError(
            f"{slices.path}: slices are {slices.size} pixels wide, but gan.resolution is {config.resolution}; "
            "allowed: equal. Prepare the cohort at the GAN's resolution."
        )
    tumour = len(slices.indices("train", "tumour"))
    normal = len(_normal_rows(slices))
    if not tumour:
        raise TrainingError(f"{slices.path}: got 0 tumour slices in the training split; a GAN needs at least 1.")
    if config.traits.needs_normals and not normal:
        raise TrainingError(
            f"{slices.path}: got 0 slices of normal subjects in the training split; {config.variant} needs at least 1. "
            "Add normal subjects to the cohort or use another variant."
        )
    available = tumour + (normal if config.traits.needs_normals else 0)
    if config.batch_size > available:
        raise TrainingError(
            f"{slices.path}: gan.batch_size is {config.batch_size}, but the training split has {available} slices; "
            f"allowed: 1 to {available}."
        )
    if config.batch_size // config.group < world_size:
        raise TrainingError(
            f"gan.batch_size is {config.batch_size} in groups of {config.group} that stay together (gan.stddev_group), "
            f"but there are {world_size} workers; allowed: at least one group per worker. Raise gan.batch_size or "
            "use fewer workers."
        )
