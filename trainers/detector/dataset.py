"""Which slices a detector learns from, in which order, and how they are augmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from trainers.data.slice_set import SliceSet, Split, concatenate
from trainers.detector.config import DetectorConfig
from trainers.exceptions import TrainingError

SMALLEST_VISIBLE = 0.3
"""A box of which less than this share is left inside the slice after augmentation is no longer a target."""


def detector_rows(slices: SliceSet, split: Split) -> np.ndarray:
    """Rows of a split that the detector sees: every slice of tumour patients, with lesions or without; int64.

    Slices of normal subjects are left out, as in the paper, where they train a GAN only.
    """
    table = slices.slices
    patient = table["kind"] == "tumour"
    if "subject_kind" in table.columns:
        patient |= table["subject_kind"] == "tumour"
    return np.flatnonzero((patient & (table["split"] == split)).to_numpy())


@dataclass(frozen=True)
class Slices:
    """Slices and boxes of one split, with the first `count` synthetic ones behind them."""

    real: np.ndarray
    """N x S x S uint8, memory-mapped; `rows` says which are used."""
    rows: np.ndarray
    """int64 rows of `real`."""
    synthetic: np.ndarray
    """count x S x S uint8."""
    boxes: list[np.ndarray]
    """One n x 4 float32 (x0, y0, x1, y1, pixels) a slice: first those of `rows`, then the synthetic ones."""

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def size(self) -> int:
        """Height and width of a slice, pixels."""
        return int(self.real.shape[1])

    def images(self, picked: np.ndarray) -> torch.Tensor:
        """The slices at positions `picked`, len(picked) x 1 x S x S uint8."""
        count = len(self.rows)
        stack = np.stack([self.real[self.rows[i]] if i < count else self.synthetic[i - count] for i in picked])
        return torch.from_numpy(stack)[:, None]


def open_slices(slices: SliceSet, split: Split, synthetic: Sequence[SliceSet] = (), count: int = 0) -> Slices:
    """Slices of one split and the first `count` synthetic ones.

    Raises:
        TrainingError: no slice or no box in the split, or synthetic slices of another size.
        SliceSetError: fewer than `count` synthetic slices.
    """
    rows = detector_rows(slices, split)
    of_slice = slices.boxes_by_slice()
    boxes = [of_slice[row] for row in rows]
    if not any(len(found) for found in boxes):
        raise TrainingError(
            f"{slices.path}: no lesion in the {split} split ({len(rows)} slices of tumour patients); needed: at least "
            "one. Add patients to the cohort or change its split."
        )
    if not count:
        return Slices(slices.images, rows, np.zeros((0, slices.size, slices.size), np.uint8), boxes)
    for shard in synthetic:
        if shard.size != slices.size:
            raise TrainingError(
                f"{shard.path}: synthetic slices are {shard.size} x {shard.size} pixels; needed: {slices.size} x "
                f"{slices.size}, as the real ones in {slices.path}. Synthesise them from a GAN of that resolution."
            )
    images, more = concatenate(synthetic, count)
    return Slices(slices.images, rows, images, boxes + more)


def picked_slices(seed: int, total: int, batch: int, step: int, rank: int, world_size: int) -> np.ndarray:
    """The slices of a step, a pure function of its arguments: positions in 0..total-1, batch / world_size int64.

    The steps walk through one permutation of all slices after another, so each slice is seen equally often.
    """
    share = batch // world_size
    start = step * batch + rank * share
    places = np.arange(start, start + share)
    passes = places // total
    order = {n: np.random.default_rng((seed, n)).permutation(total) for n in np.unique(passes)}
    return np.array([order[n][place] for n, place in zip(passes, places % total, strict=True)])


class StepBatches:
    """The loader that the library's loop walks: `__iter__` yields the batches of one pseudo-epoch."""

    num_workers = 0

    def __init__(self, slices: Slices, config: DetectorConfig, rank: int = 0, world_size: int = 1) -> None:
        self.dataset = slices
        self.sampler = self
        self.epoch = 0
        self._config, self._rank, self._world_size = config, rank, world_size

    def __len__(self) -> int:
        return min(self._config.evaluate_every, self._config.steps)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pseudo-epoch that is walked next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        config = self._config
        first = self.epoch * config.evaluate_every
        for step in range(first, min(first + config.evaluate_every, config.steps)):
            picked = picked_slices(config.seed, len(self.dataset), config.batch, step, self._rank, self._world_size)
            boxes = [self.dataset.boxes[i] for i in picked]
            yield {
                "img": self.dataset.images(picked),
                "pixels": torch.from_numpy(np.concatenate(boxes)),
                "batch_idx": torch.repeat_interleave(torch.tensor([len(found) for found in boxes])),
                "key": torch.tensor([config.seed, step, self._rank]),
            }


def augment(batch: dict[str, torch.Tensor], config: DetectorConfig, device: torch.device) -> dict[str, torch.Tensor]:
    """Resize to the training resolution under a random flip, shift, zoom and change of intensity.

    Args:
        batch: of `StepBatches`; its `key` alone decides the random numbers.

    Returns:
        `img` B x 1 x T x T float32 in 0..1, `bboxes` n x 4 (centre x, centre y, width, height as shares of the image),
        `cls` n x 1 (zeros) and `batch_idx` n, the library's form.
    """
    images = batch["img"].to(device).float() / 255
    count, size = len(images), images.shape[-1]
    draw = np.random.default_rng(batch["key"].tolist())
    flip = np.where(draw.random(count) < config.flip, -1.0, 1.0)
    zoom = 1 + draw.uniform(-config.scale, config.scale, count)
    shift = draw.uniform(-2 * config.translate, 2 * config.translate, (count, 2))
    gain, gamma = 1 + draw.uniform(-config.intensity, config.intensity, (2, count))

    # Forward map, in coordinates of -1..1: out = zoom * flip * in + shift; sampling needs its inverse.
    inverse = torch.zeros(count, 2, 3)
    inverse[:, 0, 0], inverse[:, 0, 2] = torch.from_numpy(flip / zoom), torch.from_numpy(-flip * shift[:, 0] / zoom)
    inverse[:, 1, 1], inverse[:, 1, 2] = torch.from_numpy(1 / zoom), torch.from_numpy(-shift[:, 1] / zoom)
    shape = [count, 1, config.train_size, config.train_size]
    grid = functional.affine_grid(inverse.to(device), shape, align_corners=False)
    images = functional.grid_sample(images, grid, align_corners=False)
    power, factor = (torch.from_numpy(a).float().to(device)[:, None, None, None] for a in (gamma, gain))
    images = (images.clamp_min(0).pow(power) * factor).clamp(0, 1)

    owner = batch["batch_idx"].long()
    corners = (batch["pixels"].double() * (2 / size) - 1).view(-1, 2, 2)
    factors = torch.from_numpy(np.stack([zoom * flip, zoom], axis=1))[owner][:, None]
    moved = corners * factors + torch.from_numpy(shift)[owner][:, None]
    low, high = moved.amin(1), moved.amax(1)
    area = (high - low).prod(1)
    low, high = low.clamp(-1, 1), high.clamp(-1, 1)
    seen = (high - low).prod(1) >= SMALLEST_VISIBLE * area
    boxes = torch.cat([(low + high) / 4 + 0.5, (high - low) / 2], dim=1)[seen].float()
    return {
        "img": images.contiguous(memory_format=torch.channels_last),
        "bboxes": boxes.to(device),
        "cls": torch.zeros(len(boxes), 1, device=device),
        "batch_idx": owner[seen].float().to(device),
    }
