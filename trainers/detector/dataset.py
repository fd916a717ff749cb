"""Which slices a detector is trained on and selected by; they are left on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.data.slice_set import SliceSet, Split
from trainers.exceptions import SliceSetError, TrainingError


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
    """Slices and boxes of one split, with the first synthetic ones behind them."""

    real: np.ndarray
    """N x S x S uint8, memory-mapped; `rows` says which are used."""
    rows: np.ndarray
    """int64 rows of `real`."""
    synthetic: tuple[np.ndarray, ...]
    """Shards, each n x S x S uint8, memory-mapped; the last one is cut where the count ends."""
    boxes: list[np.ndarray]
    """One n x 4 float32 (x0, y0, x1, y1, pixels) per slice: first those of `rows`, then the synthetic ones."""

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def size(self) -> int:
        """Height and width of a slice, pixels."""
        return int(self.real.shape[1])

    def image(self, position: int) -> np.ndarray:
        """One slice, S x S uint8, read-only: a view of the memory map."""
        if position < len(self.rows):
            return self.real[self.rows[position]]
        position -= len(self.rows)
        for shard in self.synthetic:
            if position < len(shard):
                return shard[position]
            position -= len(shard)
        raise IndexError(f"slice {position} is beyond the last one")


def open_slices(slices: SliceSet, split: Split, synthetic: Sequence[SliceSet] = (), count: int = 0) -> Slices:
    """Slices of one split and the first `count` synthetic ones.

    Raises:
        TrainingError: no slice or no box in the split, a shard that is not synthetic, or synthetic slices of another
            size.
        SliceSetError: fewer than `count` synthetic slices.
    """
    rows = detector_rows(slices, split)
    of_slice = slices.boxes_by_slice()
    boxes = [of_slice[row] for row in rows]
    if not any(map(len, boxes)):
        raise TrainingError(
            f"{slices.path}: no lesion in the {split} split ({len(rows)} slices of tumour patients); needed: at least "
            "one. Add patients to the cohort or change its split."
        )
    if real := next((shard for shard in synthetic if not shard.is_synthetic), None):
        raise TrainingError(
            f"{real.path} is given as synthetic slices, but slices.parquet has no column `image_index`, so they are "
            "real and may hold the test split; allowed: what `metsweep synthesize` writes. Name such a folder."
        )
    shards, missing = [], count
    for shard in synthetic:
        if not missing:
            break
        if shard.size != slices.size:
            raise TrainingError(
                f"{shard.path}: synthetic slices are {shard.size} x {shard.size} pixels; needed: {slices.size} x "
                f"{slices.size}, as the real ones in {slices.path}. Synthesise them from a GAN of that resolution."
            )
        images = shard.images[:missing]
        shards.append(images)
        boxes += shard.boxes_by_slice()[:missing]
        missing -= len(images)
    if missing:
        where = ", ".join(str(shard.path) for shard in synthetic) or "none given"
        raise SliceSetError(
            f"{count} synthetic slices asked for, but the shards hold {count - missing} ({where}). Synthesise more of "
            "them or lower the count."
        )
    return Slices(slices.images, rows, tuple(shards), boxes)
