"""The library's dataset and augmentation on memory-mapped slices; import after `prepare_library`.

An item is what the library would make of the same slice stored as a one-channel PNG file with its label file. Its
random numbers derive from (seed, step, place in the batch) alone: neither the number of workers, nor a resume, nor the
number of loader processes changes them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from typing_extensions import override
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import BaseTransform, Compose, Mosaic, RandomHSV
from ultralytics.data.dataset import YOLODataset

from trainers.detector.config import DetectorConfig
from trainers.detector.dataset import Slices
from trainers.detector.order import Draw, Order

CORNERS = 32
"""Of the polygons that stand for lesions; a multiple of 4."""


class SliceDataset(YOLODataset):
    """The library's dataset whose images are slices and whose items are draws: their positions in these slices."""

    def __init__(self, slices: Slices, config: DetectorConfig) -> None:
        self.slices, self.config = slices, config
        super().__init__(
            img_path="",
            imgsz=config.train_size,
            hyp=get_cfg(overrides=augmentation_arguments(config)),
            data={"names": {0: "tumour"}, "channels": 1},
        )

    @override
    def get_img_files(self, img_path: str | list[str]) -> list[str]:
        return [f"slice-{position}" for position in range(len(self.slices))]

    @override
    def get_labels(self) -> list[dict[str, Any]]:
        size = self.slices.size
        return [
            {
                "im_file": name,
                "shape": (size, size),
                "cls": np.zeros((len(pixels), 1), np.float32),
                "bboxes": _shares(pixels, size),
                "segments": _ellipses(pixels, size) if self.config.copy_paste else [],
                "keypoints": None,
                "normalized": True,
                "bbox_format": "xywh",
            }
            for name, pixels in zip(self.im_files, self.slices.boxes, strict=True)
        ]

    @override
    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
        """The slice enlarged to the training resolution as the library does it, H x W x 1 uint8, and both sizes."""
        image, target = self.slices.image(i), self.config.train_size
        before = (image.shape[0], image.shape[1])
        if before != (target, target):
            image = cv2.resize(image, (target, target), interpolation=cv2.INTER_LINEAR)
        return image[..., None], before, (target, target)

    @override
    def build_transforms(self, hyp: Any) -> Compose:
        transforms = super().build_transforms(hyp)
        for transform in transforms.transforms[0].transforms:
            if isinstance(transform, Mosaic):
                # The library's buffer of images shown before would make an item depend on the run so far.
                transform.buffer_enabled = False
        for i, transform in enumerate(transforms.transforms):
            if isinstance(transform, RandomHSV):
                transforms[i] = Intensity(self.config.intensity)
        return transforms

    @override
    def __getitem__(self, index: Draw) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        seed_augmentation(self.config.seed, index)
        return super().__getitem__(index.position)


class Intensity(BaseTransform):
    """A random gain and gamma curve on a uint8 image, each within 1 +- `largest`; at 0 nothing changes or is drawn."""

    def __init__(self, largest: float) -> None:
        self.largest = largest

    @override
    def apply_image(self, labels: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        if self.largest:
            gain, gamma = 1 + np.random.uniform(-self.largest, self.largest, 2)
            table = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).round().astype(np.uint8)
            labels["img"] = cv2.LUT(labels["img"], table).reshape(labels["img"].shape)
        return labels


class StepBatches:
    """The loader that the library's loop walks: `__iter__` yields this rank's batches of one pseudo-epoch.

    Args:
        start: steps done before, by a run that ended within a pseudo-epoch.
        end: number of steps of the run.
        processes: loader processes; 0 = load in this process.
        pinned: whether batches lie in page-locked memory, from which a GPU copies while it computes.
    """

    def __init__(
        self,
        dataset: SliceDataset,
        order: Order,
        start: int,
        end: int,
        rank: int = 0,
        world_size: int = 1,
        processes: int = 0,
        pinned: bool = False,
    ) -> None:
        self.dataset = dataset
        self.sampler = self
        self.num_workers = processes
        self._order, self._start, self._end, self._pinned = order, start, end, pinned
        self._rank, self._world_size = rank, world_size
        self._every = dataset.config.evaluate_every
        self._epoch = 0

    def __len__(self) -> int:
        return min(self._every, self._end)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pseudo-epoch that is walked next."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        first = self._epoch * self._every
        end = min(first + self._every, self._end)
        steps = self._order.steps(max(first, self._start), end, self._rank, self._world_size)
        yield from DataLoader(
            self.dataset,
            batch_sampler=steps,  # pyright: ignore[reportArgumentType]
            num_workers=self.num_workers,
            collate_fn=YOLODataset.collate_fn,
            pin_memory=self._pinned,
        )


def augmentation_arguments(config: DetectorConfig) -> dict[str, Any]:
    """The library's names and values for the augmentation."""
    names = ("degrees", "translate", "scale", "shear", "flipud", "fliplr", "mosaic", "copy_paste")
    return {**{name: getattr(config, name) for name in names}, "mixup": 0.0, "cutmix": 0.0, "augmentations": []}


def seed_augmentation(seed: int, draw: Draw) -> None:
    """Seed the generators that the library's transforms use, for one draw."""
    first, second = np.random.SeedSequence((seed, draw.step, draw.place)).generate_state(2)
    random.seed(int(first))
    np.random.seed(second)


def _shares(pixels: np.ndarray, size: int) -> np.ndarray:
    """Boxes as the library's label files hold them: n x 4 float32 centre, width and height as shares of the slice."""
    low, high = pixels[:, :2].astype(np.float64), pixels[:, 2:].astype(np.float64)
    return (np.concatenate([(low + high) / 2, high - low], axis=1) / size).astype(np.float32)


def _ellipses(pixels: np.ndarray, size: int) -> list[np.ndarray]:
    """The ellipses in boxes, as polygons that touch all four sides; each CORNERS x 2 float32, shares of the slice."""
    angles = 2 * np.pi * np.arange(CORNERS) / CORNERS
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [
        ((low + high) / 2 + circle * (high - low) / 2).astype(np.float32) / size
        for low, high in pixels.reshape(-1, 2, 2)
    ]
