"""The slice set: the one form in which slices and boxes reach the GANs and the detector.

A slice set is a folder: `images.npy` (N x H x W uint8, read as a memory map), `slices.parquet` (one row a slice),
`boxes.parquet` (one row a box) and `meta.json`. A synthetic slice set has the same form; its boxes are the
conditioning boxes and its slices carry `image_index`, the number that alone (with the GAN) decides a slice. A set
prepared from a cohort says more of its boxes: `lesion`, the number of the 3-D lesion within its volume, and
`diameter_mm`, the size of that lesion (`trainers.data.prepare`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from trainers.exceptions import SliceSetError

Split = Literal["train", "validation", "test"]
Kind = Literal["tumour", "normal"]

SLICE_COLUMNS = ("slice_id", "patient_id", "split", "scanner", "kind", "volume", "z")
BOX_COLUMNS = ("slice_id", "x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class SliceSet:
    """An opened slice set; row i of `slices` describes `images[i]`."""

    path: Path
    images: np.ndarray
    """N x H x W uint8, memory-mapped."""
    slices: pd.DataFrame
    """One row a slice, columns SLICE_COLUMNS; `slice_id` is unique."""
    boxes: pd.DataFrame
    """One row a box in pixels, columns BOX_COLUMNS; x to the right (columns), y down (rows), x1 and y1 exclusive."""
    meta: dict[str, Any]

    @property
    def size(self) -> int:
        """Height and width of a slice, pixels."""
        return int(self.images.shape[1])

    def indices(self, split: Split | None = None, kind: Kind | None = None) -> np.ndarray:
        """Rows of one split and kind, in order; int64."""
        keep = np.ones(len(self.slices), dtype=bool)
        if split is not None:
            keep &= (self.slices["split"] == split).to_numpy()
        if kind is not None:
            keep &= (self.slices["kind"] == kind).to_numpy()
        return np.flatnonzero(keep)

    def boxes_by_slice(self) -> list[np.ndarray]:
        """For each slice its boxes, n x 4 float32 (x0, y0, x1, y1) in pixels; n may be 0."""
        empty = np.zeros((0, 4), dtype=np.float32)
        found = {
            key: group[["x0", "y0", "x1", "y1"]].to_numpy(dtype=np.float32)
            for key, group in self.boxes.groupby("slice_id", sort=False)
        }
        return [found.get(slice_id, empty) for slice_id in self.slices["slice_id"]]


def write_slice_set(
    path: Path, images: np.ndarray, slices: pd.DataFrame, boxes: pd.DataFrame, meta: dict[str, Any]
) -> None:
    """Write a slice set into the folder `path`, which is made if needed.

    Raises:
        SliceSetError: the parts do not fit together (see `check`).
    """
    check(path, images, slices, boxes)
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / "images.npy", images)
    slices.to_parquet(path / "slices.parquet", index=False)
    boxes.to_parquet(path / "boxes.parquet", index=False)
    (path / "meta.json").write_text(json.dumps(meta, indent=2, sort_keys=True))


def open_slice_set(path: Path) -> SliceSet:
    """Open the slice set in the folder `path`; images stay on disk.

    Raises:
        SliceSetError: a file is missing, or the parts do not fit together.
    """
    needed = ("images.npy", "slices.parquet", "boxes.parquet", "meta.json")
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        raise SliceSetError(f"{path} is not a slice set: it lacks {', '.join(missing)}. `metsweep prepare` makes one.")
    images = np.load(path / "images.npy", mmap_mode="r")
    slices = pd.read_parquet(path / "slices.parquet")
    boxes = pd.read_parquet(path / "boxes.parquet")
    check(path, images, slices, boxes)
    return SliceSet(path, images, slices, boxes, json.loads((path / "meta.json").read_text()))


def check(path: Path, images: np.ndarray, slices: pd.DataFrame, boxes: pd.DataFrame) -> None:
    """Refuse parts that do not make a slice set, naming the first offending slice."""
    if images.ndim != 3 or images.dtype != np.uint8 or images.shape[1] != images.shape[2]:
        raise SliceSetError(f"{path}: images are {images.dtype} of shape {images.shape}; allowed: uint8, N x S x S.")
    for frame, columns, name in ((slices, SLICE_COLUMNS, "slices"), (boxes, BOX_COLUMNS, "boxes")):
        absent = [column for column in columns if column not in frame.columns]
        if absent:
            raise SliceSetError(f"{path}: {name}.parquet lacks the columns {absent}; needed: {list(columns)}.")
    if len(slices) != len(images):
        raise SliceSetError(f"{path}: {len(images)} images but {len(slices)} rows in slices.parquet.")
    if slices["slice_id"].duplicated().any():
        twice = slices.loc[slices["slice_id"].duplicated(), "slice_id"].iloc[0]
        raise SliceSetError(f"{path}: slice_id {twice!r} is there more than once.")
    unknown = boxes.loc[~boxes["slice_id"].isin(slices["slice_id"]), "slice_id"]
    if len(unknown):
        raise SliceSetError(f"{path}: a box belongs to slice {unknown.iloc[0]!r}, which is not in slices.parquet.")
    size = images.shape[1]
    bad = boxes[
        (boxes["x0"] < 0)
        | (boxes["y0"] < 0)
        | (boxes["x1"] > size)
        | (boxes["y1"] > size)
        | (boxes["x1"] <= boxes["x0"])
        | (boxes["y1"] <= boxes["y0"])
    ]
    if len(bad):
        row = bad.iloc[0]
        raise SliceSetError(
            f"{path}: slice {row['slice_id']!r} has the box {[float(row[c]) for c in BOX_COLUMNS[1:]]}; "
            f"allowed: x0 < x1 and y0 < y1 within 0 to {size}."
        )
    by_patient = slices.groupby("patient_id")["split"].nunique()
    if (by_patient > 1).any():
        raise SliceSetError(f"{path}: patient {by_patient.idxmax()!r} is in more than one split.")


def concatenate(sets: Sequence[SliceSet], count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """The first `count` images of several shards and their boxes: (count x H x W uint8, list of n x 4 float32).

    Raises:
        SliceSetError: the shards together hold fewer than `count` slices.
    """
    have = sum(len(shard.images) for shard in sets)
    if count > have:
        raise SliceSetError(f"{count} synthetic slices asked for, but the shards hold {have}.")
    images: list[np.ndarray] = []
    boxes: list[np.ndarray] = []
    for shard in sets:
        take = min(count - len(boxes), len(shard.images))
        images.append(shard.images[:take])
        boxes += shard.boxes_by_slice()[:take]
    return np.concatenate(images), boxes
