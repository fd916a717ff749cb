"""Pictures of slices with boxes, in folders for YOLO, COCO or nnU-Net -> a slice set.

A table says whose picture each is, as these formats do not: `slices.csv` in the folder, or a CSV of the user.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pandas as pd

from trainers.data.pictures import grey
from trainers.data.slice_export import TABLE, TABLE_NEEDED, TABLE_OPTIONAL
from trainers.data.slice_folders import PICTURES, SPLITS, Picture, pictures_of
from trainers.data.slice_set import BOX_COLUMNS, Split, write_slice_set
from trainers.distributed import OnProgress
from trainers.documents import read_table, shown
from trainers.exceptions import SliceSetError

WHOLE = 1e-3
"""Pixels from a whole number at which a corner counts as whole: shares of YOLO are rounded."""


def import_slices(
    form: str, source: Path, out: Path, on_progress: OnProgress, patients: Path | None = None, size: int | None = None
) -> None:
    """Write the slice set of the pictures in `source` into the folder `out`.

    Args:
        form: one of FORMS.
        patients: CSV with the columns TABLE_NEEDED and any of TABLE_OPTIONAL; None: `slices.csv` in `source`.
        size: height and width to which pictures are padded and scaled; None: they are square and of one size.

    Raises:
        SliceSetError: a picture without patient or split, of another size, or in colour; boxes beyond their picture;
            one picture under two patients or in two splits.
    """
    pictures = pictures_of(form, source)
    about = _table(source, patients)
    if missing := sorted(pictures.keys() - about.keys()):
        raise SliceSetError(
            f"{patients or source / TABLE}: lacks {len(missing)} of {len(pictures)} pictures, {missing[0]!r} first; "
            "needed: a line per picture, so that no patient is in two splits."
        )
    names = [name for name in about if name in pictures]
    images: list[np.ndarray] = []
    boxes: list[tuple[Any, ...]] = []
    slices: list[dict[str, Any]] = []
    seen: dict[bytes, dict[str, Any]] = {}
    for name in names:
        image, corners = _fitted(pictures[name], size)
        if images and image.shape != images[0].shape:
            raise SliceSetError(
                f"{pictures[name].file}: has {image.shape[1]} x {image.shape[0]} pixels, {pictures[names[0]].file} "
                f"{images[0].shape[1]} x {images[0].shape[0]}; allowed: one size. --size pads and scales all."
            )
        images.append(image)
        boxes.extend((name, *row) for row in corners.tolist())
        slices.append(_row(name, about[name], pictures[name], bool(len(corners))))
        if image.min() < image.max():  # of nothing, all pictures are the same
            _refuse_same(source, seen.setdefault(hashlib.sha256(image.tobytes()).digest(), slices[-1]), slices[-1])
        on_progress(len(images), len(names), {"boxes": len(boxes)})
    if images[0].shape[0] != images[0].shape[1]:
        raise SliceSetError(
            f"{source}: its pictures have {images[0].shape[1]} x {images[0].shape[0]} pixels; allowed: squares. "
            "--size pads and scales them."
        )
    table = pd.DataFrame(boxes, columns=list(BOX_COLUMNS))
    corners = table[list(BOX_COLUMNS[1:])]
    if (corners == corners.round()).all(axis=None):
        table = table.astype(dict.fromkeys(BOX_COLUMNS[1:], np.int64))
    meta = {"size": images[0].shape[0], "imported": {"form": form, "source": str(source)}}
    write_slice_set(out, np.stack(images), pd.DataFrame(slices), table, meta)


def _table(source: Path, patients: Path | None) -> dict[str, dict[str, str]]:
    """Picture -> cells of its line, in the table's order."""
    file = patients or source / TABLE
    if not file.is_file():
        raise SliceSetError(
            f"{file} does not exist; needed: a CSV with the columns {', '.join(TABLE_NEEDED)} (allowed besides: "
            f"{', '.join(TABLE_OPTIONAL)}), as patients decide what may be in one split. --patients names it."
        )
    about: dict[str, dict[str, str]] = {}
    for line, cells in read_table(file, SliceSetError, TABLE_NEEDED, TABLE_OPTIONAL):
        name = cells["image"] if Path(cells["image"]).suffix.lower() not in PICTURES else Path(cells["image"]).stem
        wrong = [key for key in ("z", "image_index") if not cells.get(key, "0").isdecimal()]
        if name in about or not cells["patient_id"] or wrong:
            raise SliceSetError(
                f"{file}, line {line}: is {shown(cells)}; allowed: each picture once, with its patient, and whole "
                "numbers as z and image_index."
            )
        about[name] = cells
    return about


def _row(name: str, cells: Mapping[str, str], picture: Picture, has_boxes: bool) -> dict[str, Any]:
    split = cells.get("split") or picture.split
    if split is None:
        raise SliceSetError(
            f"{picture.file}: its split is unknown; allowed: {', '.join(get_args(Split))}, as the column split of the "
            "table, or the name of a folder."
        )
    extra: dict[str, Any] = {key: cells[key] for key in ("subject_kind",) if key in cells}
    if "image_index" in cells:
        extra["image_index"] = int(cells["image_index"])
    return {
        "slice_id": name,
        "patient_id": cells["patient_id"],
        "split": SPLITS.get(split, split),
        "scanner": cells.get("scanner") or "unknown",
        "kind": cells.get("kind") or ("tumour" if has_boxes else "normal"),
        "volume": cells.get("volume") or name,
        "z": int(cells.get("z", "0")),
        **extra,
    }


def _refuse_same(source: Path, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Refuse two rows of the same picture whose patients or splits differ."""
    if any(first[key] != second[key] for key in ("patient_id", "split")):
        names = (f"{row['slice_id']!r} of patient {row['patient_id']!r} ({row['split']})" for row in (first, second))
        raise SliceSetError(
            f"{source}: pictures {' and '.join(names)} are the same; allowed: a picture in one split, of one patient, "
            "or training data would leak into the test split. Remove one of them, or correct the table."
        )


def _fitted(picture: Picture, size: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Picture, H x W uint8, and boxes, n x 4 float64 pixels; padded to a square and scaled if a size is wanted."""
    image = grey(picture.file, SliceSetError)
    height, width = image.shape
    boxes = picture.drawn.pixels(width, height, SliceSetError)
    if size is not None and (height, width) != (size, size):
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        square = np.zeros((side, side), dtype=np.uint8)
        square[top : top + height, left : left + width] = image
        shrinks = cv2.INTER_AREA if size < side else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(square, (size, size), interpolation=shrinks))
        boxes = (boxes + np.array([left, top, left, top])) * (size / side)
    whole = np.rint(boxes)
    return image, np.where(np.abs(boxes - whole) < WHOLE, whole, boxes)
