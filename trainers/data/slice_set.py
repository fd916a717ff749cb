"""The slice set: the one form in which slices and boxes reach the GANs and the detector.

A slice set is a folder: `images.npy` (N x H x W uint8, read as a memory map), `slices.parquet` (one row per slice),
`boxes.parquet` (one row per box) and `meta.json`. A synthetic slice set has the same form; its boxes are the
conditioning boxes and its slices carry `image_index`, the number that alone (with the GAN) decides a slice. A set
prepared from a cohort records more about its boxes: `lesion`, the number of the 3-D lesion within its volume, and
`diameter_mm`, the size of that lesion (`trainers.data.prepare`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import pandas as pd

from trainers.exceptions import SliceSetError

Split = Literal["train", "validation", "test"]
Kind = Literal["tumour", "normal"]
Content = TypeVar("Content")

SLICE_COLUMNS = ("slice_id", "patient_id", "split", "scanner", "kind", "volume", "z")
CORNERS = ["x0", "y0", "x1", "y1"]
BOX_COLUMNS = ("slice_id", *CORNERS)
IMAGES_FILE = "images.npy"
META_FILE = "meta.json"


@dataclass(frozen=True)
class SliceSet:
    """An opened slice set; row i of `slices` describes `images[i]`."""

    path: Path
    images: np.ndarray
    """N x H x W uint8, memory-mapped."""
    slices: pd.DataFrame
    """One row per slice, columns SLICE_COLUMNS; `slice_id` is unique."""
    boxes: pd.DataFrame
    """One row per box in pixels, columns BOX_COLUMNS; x to the right (columns), y down (rows), x1 and y1 exclusive."""
    meta: dict[str, Any]
    """For whoever wrote the set; other rooms read it through typed readers beside the writers."""

    @property
    def prepared_with(self) -> dict[str, object]:
        """The config that `prepare` made the slices with, as JSON; empty for other sets."""
        return self.meta.get("config", {})

    @property
    def size(self) -> int:
        """Height and width of a slice, pixels."""
        return int(self.images.shape[1])

    @property
    def is_synthetic(self) -> bool:
        """Whether a GAN drew the slices."""
        return "image_index" in self.slices.columns

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over images, slices and boxes; independent of the folder."""
        digest = hashlib.sha256(f"{self.images.shape} {self.images.dtype}".encode())
        digest.update(np.ascontiguousarray(self.images).data)
        for frame in (self.slices, self.boxes):
            digest.update(frame.to_csv(index=False).encode() + b"\0")
        return digest.hexdigest()

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
        boxes_of = {
            key: group[CORNERS].to_numpy(dtype=np.float32) for key, group in self.boxes.groupby("slice_id", sort=False)
        }
        return [boxes_of.get(slice_id, empty) for slice_id in self.slices["slice_id"]]


def write_slice_set(
    path: Path, images: np.ndarray, slices: pd.DataFrame, boxes: pd.DataFrame, meta: dict[str, Any]
) -> None:
    """Write a slice set into the folder `path`, made if needed; SliceSetError as in `check`."""
    check(path, images, slices, boxes)
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / IMAGES_FILE, images)
    _write_tables(path, slices, boxes, meta)


def stream_slice_set(
    path: Path, images: Iterable[np.ndarray], size: int, slices: pd.DataFrame, boxes: pd.DataFrame, meta: dict[str, Any]
) -> None:
    """As `write_slice_set`, of images (n x `size` x `size` uint8 each) that come one after the other and are not held.

    The files are the same, byte by byte.
    """
    path.mkdir(parents=True, exist_ok=True)
    file = path / IMAGES_FILE
    with file.open("wb") as stream:
        shape = (len(slices), size, size)
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for part in images:
            stream.write(np.ascontiguousarray(part).data)
    check(path, np.load(file, mmap_mode="r"), slices, boxes)
    _write_tables(path, slices, boxes, meta)


def _write_tables(path: Path, slices: pd.DataFrame, boxes: pd.DataFrame, meta: dict[str, Any]) -> None:
    slices.to_parquet(path / "slices.parquet", index=False)
    boxes.to_parquet(path / "boxes.parquet", index=False)
    (path / META_FILE).write_text(json.dumps(meta, indent=2, sort_keys=True))


def open_slice_set(path: Path) -> SliceSet:
    """Open the slice set in the folder `path`, images left on disk; SliceSetError if damaged, and as in `check`."""
    needed = (IMAGES_FILE, "slices.parquet", "boxes.parquet", META_FILE)
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        raise SliceSetError(f"{path} is not a slice set: it lacks {', '.join(missing)}. `metsweep prepare` makes one.")
    images = _read(path / IMAGES_FILE, lambda file: np.load(file, mmap_mode="r"))
    slices = _read(path / "slices.parquet", pd.read_parquet)
    boxes = _read(path / "boxes.parquet", pd.read_parquet)
    check(path, images, slices, boxes)
    return SliceSet(path, images, slices, boxes, _read(path / META_FILE, lambda file: json.loads(file.read_text())))


def _read(file: Path, read: Callable[[Path], Content]) -> Content:
    try:
        return read(file)
    except (ValueError, OSError) as error:
        raise SliceSetError(f"{file} cannot be read ({error}); is it complete? `metsweep prepare` makes it.") from error


def check(path: Path, images: np.ndarray, slices: pd.DataFrame, boxes: pd.DataFrame) -> None:
    """Refuse parts that do not make a slice set.

    That is: images that are not uint8 (floats, with which NaN pixels would come), have channels or are not square;
    slices without an image, without or with another's name, of an unknown split or kind; a patient in two splits; and
    boxes that belong to no slice, have coordinates that are no numbers, span no area or leave the slice.

    Raises:
        SliceSetError: names the first offending slice and its patient.
    """
    if images.ndim != 3 or images.dtype != np.uint8 or images.shape[1] != images.shape[2]:
        raise SliceSetError(
            f"{path}: images are {images.dtype} of shape {images.shape}; allowed: uint8, N x S x S. Keep one channel, "
            "pad to a square and scale to 0..255, as `metsweep prepare` does with volumes."
        )
    for frame, columns, name in ((slices, SLICE_COLUMNS, "slices"), (boxes, BOX_COLUMNS, "boxes")):
        absent = [column for column in columns if column not in frame.columns]
        if absent:
            raise SliceSetError(f"{path}: {name}.parquet lacks the columns {absent}; needed: {list(columns)}.")
    if len(slices) != len(images):
        raise SliceSetError(
            f"{path}: {len(images)} images but {len(slices)} rows in slices.parquet; allowed: one row per image."
        )
    _check_slices(path, slices)
    _check_boxes(path, slices, boxes, images.shape[1])


def _check_slices(path: Path, slices: pd.DataFrame) -> None:
    for column in ("slice_id", "patient_id"):
        if slices[column].isna().any():
            row = int(np.flatnonzero(slices[column].isna())[0])
            raise SliceSetError(f"{path}: row {row} of slices.parquet has no {column}; every slice needs one.")
    twice = slices[slices["slice_id"].duplicated(keep=False)]
    if len(twice):
        name, patients = twice["slice_id"].iloc[0], sorted(set(twice["patient_id"]))
        raise SliceSetError(
            f"{path}: slice_id {name!r} is listed more than once (patient {', '.join(map(repr, patients))}); give each "
            "slice its own name."
        )
    for column, allowed in (("split", get_args(Split)), ("kind", get_args(Kind))):
        strange = slices[~slices[column].isin(allowed)]
        if len(strange):
            row = strange.iloc[0]
            raise SliceSetError(
                f"{path}: slice {row['slice_id']!r} of patient {row['patient_id']!r} has the {column} "
                f"{row[column]!r}; allowed: {', '.join(allowed)}."
            )
    splits = slices.groupby("patient_id")["split"].nunique()
    if (splits > 1).any():
        raise SliceSetError(
            f"{path}: patient {splits.idxmax()!r} is in more than one split; all slices of a patient belong to one, or "
            "training data would leak into the test split."
        )


def _check_boxes(path: Path, slices: pd.DataFrame, boxes: pd.DataFrame, size: int) -> None:
    patient_of = dict(zip(slices["slice_id"], slices["patient_id"], strict=True))
    unknown = boxes.loc[~boxes["slice_id"].isin(slices["slice_id"]), "slice_id"]
    if len(unknown):
        raise SliceSetError(
            f"{path}: a box belongs to slice {unknown.iloc[0]!r}, which is not in slices.parquet; drop the box or add "
            "the slice."
        )
    corners = boxes[CORNERS].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float32)
    low, high = corners[:, :2], corners[:, 2:]
    # Comparisons with NaN are false, so this asks what is right, not what is wrong.
    good = ((low >= 0) & (low < high) & (high <= size)).all(axis=1)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        slice_id = boxes["slice_id"].iloc[row]
        raise SliceSetError(
            f"{path}: slice {slice_id!r} of patient {patient_of[slice_id]!r} has the box "
            f"{boxes[CORNERS].iloc[row].tolist()}; allowed: numbers with x0 < x1 and y0 < y1 within 0 to {size}. "
            "Correct it or drop it."
        )
