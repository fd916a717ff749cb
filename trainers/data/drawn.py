"""Boxes that others drew on pictures of slices: COCO JSON, YOLO text, Pascal VOC XML, or CSV; one reader per format.

All give boxes in pixels, x to the right and y down, upper bounds exclusive. Every box counts as a lesion: boxes of
several categories in one data set are refused (`OneCategory`).
"""

from __future__ import annotations

import mmap
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from trainers.documents import MIB, read_json, read_table, read_text, refuse_repeated, shown
from trainers.exceptions import MetsweepError

Error = type[MetsweepError]
LARGEST_COCO = 1024 * MIB
COCO_LISTS = ("images", "annotations")
SLACK = 1e-3
"""Pixels that a box may reach beyond its picture: shares of YOLO are rounded."""
CSV_COLUMNS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Drawn:
    """The boxes of one picture."""

    image: str
    """Name of the picture, without folder and ending."""
    where: str
    """File, and line or record, for messages."""
    boxes: np.ndarray
    """n x 4 float64: x0, y0, x1, y1 in pixels, or in shares of the picture."""
    size: tuple[int, int] | None = None
    """Width and height of the picture as its annotation says; None if it does not."""
    in_shares: bool = False
    categories: frozenset[str] = frozenset()
    """Of its boxes, as the format names them."""

    def pixels(self, width: int, height: int, error: Error) -> np.ndarray:
        """The boxes in pixels of a picture of that size, within it.

        Raises:
            MetsweepError: of the class `error`: the annotation has another size, a box spans no area, leaves the
                picture or is listed twice.
        """
        if self.size is not None and self.size != (width, height):
            raise error(
                f"{self.where}: its picture {shown(self.image)} has {self.size[0]} x {self.size[1]} pixels (width x "
                f"height), the slice {width} x {height}; allowed: the same."
            )
        boxes = self.boxes * [width, height, width, height] if self.in_shares else self.boxes
        low, high = boxes[:, :2], boxes[:, 2:]
        good = ((low >= -SLACK) & (low < high) & (high <= np.array([width, height]) + SLACK)).all(axis=1)
        if not good.all():
            box = boxes[np.flatnonzero(~good)[0]].tolist()
            raise error(
                f"{self.where}: the box {box} of the picture {shown(self.image)}; allowed: x0 < x1 and y0 < y1 within "
                f"{width} x {height} pixels."
            )
        if len(np.unique(boxes, axis=0)) < len(boxes):
            raise error(f"{self.where}: the picture {shown(self.image)} has a box twice; allowed: once. Remove one.")
        return np.clip(boxes, 0, [width, height, width, height])


class OneCategory:
    """That of the boxes of a data set, picture by picture."""

    def __init__(self, error: Error) -> None:
        self._error = error
        self._first: dict[str, str] = {}

    def add(self, drawn: Drawn) -> None:
        """Refuse a picture whose boxes are of another category than earlier ones.

        Raises:
            MetsweepError: of the class that `OneCategory` was given; names both categories, and where they are.
        """
        for category in sorted(drawn.categories):
            self._first.setdefault(category, drawn.where)
        if len(self._first) > 1:
            (one, where), (other, where_other) = list(self._first.items())[:2]
            raise self._error(
                f"{where_other}: its boxes are of the categories {shown(one)} ({where}) and {shown(other)}; allowed in "
                "a data set: one, that of lesions. Keep these."
            )


def read_coco(path: Path, error: Error) -> Iterator[Drawn]:
    """The pictures of a COCO file, those without boxes included."""
    content = read_json(path, error, LARGEST_COCO)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in COCO_LISTS):
        raise error(f"{path}: holds no COCO annotation; needed: a mapping with the lists `images` and `annotations`.")
    boxes, categories = _coco_boxes(path, content["annotations"], error)
    listed = content.get("categories")
    named = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    called = {str(each.get("id")): str(each.get("name")) for each in named}
    images = content["images"]
    for number, record in enumerate(images):
        keys = ("id", "file_name", "width", "height")
        if not isinstance(record, dict) or not all(key in record for key in keys):
            raise error(f"{path}: image {number} is {shown(record)}; needed: {', '.join(keys)}.")
        sized = all(isinstance(record[side], int) and record[side] > 0 for side in ("width", "height"))
        if not sized or not isinstance(record["id"], int | str):
            raise error(f"{path}: image {number} is {shown(record)}; allowed: an id, and its size in pixels.")
    names = [Path(str(record["file_name"])).stem for record in images]
    for field, marks in (("id", (record["id"] for record in images)), ("name", names)):
        refuse_repeated(path, field, marks, lambda i: f"image {i} ({shown(names[i])})", error, "Correct one.")
    for number, (name, record) in enumerate(zip(names, images, strict=True)):
        drawn = _array(boxes.pop(record["id"], ()))
        of_boxes = frozenset(called.get(category, category) for category in categories[record["id"]])
        yield Drawn(name, f"{path}: image {number}", drawn, (record["width"], record["height"]), categories=of_boxes)
    if boxes:
        raise error(f"{path}: a box is on image_id {shown(next(iter(boxes)))}, which `images` lacks. Add the image.")


def _coco_boxes(
    path: Path, annotations: Sequence[Any], error: Error
) -> tuple[dict[Any, list[Sequence[float]]], dict[Any, set[str]]]:
    """Image id -> its boxes, and image id -> ids of their categories."""
    boxes: dict[Any, list[Sequence[float]]] = defaultdict(list)
    categories: dict[Any, set[str]] = defaultdict(set)
    for number, record in enumerate(annotations):
        keys = ("bbox", "image_id", "id")
        box, image, own = map(record.get, keys) if isinstance(record, dict) else (None, None, None)
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
            raise error(f"{path}: annotation {number} has the bbox {shown(box)}; allowed: [x, y, width, height].")
        if not isinstance(image, int | str):
            raise error(f"{path}: annotation {number} has the image_id {shown(image)}; allowed: the id of an image.")
        if not isinstance(own, int | float | str | None):
            raise error(f"{path}: annotation {number} has the id {shown(own)}; allowed: a number or a string.")
        boxes[image].append((box[0], box[1], box[0] + box[2], box[1] + box[3]))
        categories[image].add(str(record.get("category_id")))
    ids = [record.get("id") for record in annotations]
    refuse_repeated(path, "id", ids, lambda i: f"annotation {i} (id {shown(ids[i])})", error, "Correct or remove one.")
    return boxes, categories


def looks_like_coco(file: Path) -> bool:
    """Whether a file names the lists of a COCO file, at any place; parsing it would take minutes where it is large."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(f'"{key}"'.encode()) >= 0 for key in COCO_LISTS)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False


def read_yolo(path: Path, error: Error) -> Iterator[Drawn]:
    """The boxes of a label file `PICTURE.txt`: class, centre, width and height in shares of the picture."""
    rows, classes = [], set()
    for line, text in enumerate(read_text(path, error, 16 * MIB).splitlines(), start=1):
        cells = text.split()
        try:
            if cells:
                x, y, width, height = map(float, cells[1:])
                rows.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
                classes.add(cells[0])
        except ValueError:
            raise error(f"{path}, line {line}: is {shown(text)}; allowed: class, x, y, width and height.") from None
    yield Drawn(path.stem, str(path), _array(rows), in_shares=True, categories=frozenset(classes))


def read_voc(path: Path, error: Error) -> Iterator[Drawn]:
    """The boxes of a Pascal VOC file; its pixels count from 1 and its upper bounds belong to the box."""
    text = read_text(path, error, 16 * MIB)
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise error(f"{path}: declares a document type; allowed: none. Remove the line.")
    try:
        root = ElementTree.fromstring(text)
        rows = [[float(item.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")]
                for item in root.iter("object")]  # fmt: skip
        width, height = (int(root.findtext(f"size/{key}", "")) for key in ("width", "height"))
    except (ElementTree.ParseError, ValueError) as reason:
        raise error(
            f"{path}: cannot be read as Pascal VOC ({reason}); needed: size with width and height, and object with "
            "bndbox."
        ) from None
    categories = frozenset((item.findtext("name") or "").strip() for item in root.iter("object"))
    name = Path(root.findtext("filename") or path.name).stem
    yield Drawn(name, str(path), _array(rows) - [1, 1, 0, 0], (width, height), categories=categories)


def read_csv(path: Path, error: Error) -> Iterator[Drawn]:
    """The boxes of a CSV with x0, y0, x1, y1, and `image`; without, the file is named after its picture."""
    boxes: dict[str, list[list[float]]] = defaultdict(list)
    for line, cells in read_table(path, error, CSV_COLUMNS):
        try:
            box = [float(cells[column]) for column in CSV_COLUMNS]
        except ValueError:
            raise error(
                f"{path}, line {line}: is {shown(cells)}; allowed: numbers as {', '.join(CSV_COLUMNS)}."
            ) from None
        boxes[Path(cells.get("image", path.name)).stem].append(box)
    for image, rows in boxes.items():
        yield Drawn(image, str(path), _array(rows))


READERS: Mapping[str, tuple[str, Callable[[Path, Error], Iterator[Drawn]]]] = {
    "coco": (".json", read_coco),
    "yolo": (".txt", read_yolo),
    "voc": (".xml", read_voc),
    "csv": (".csv", read_csv),
}
"""Format -> the ending of its files, and their reader."""


def _array(rows: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)
