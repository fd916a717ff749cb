"""Truth and detections in COCO's JSON form, so that any detector's boxes can be scored, and ours by any tool.

Truth is `{"images": [...], "annotations": [...]}`, detections are the list that `COCO.loadRes` takes. Beyond COCO's own
keys an image may have `patient_id`, `volume`, `z` (whole number), `scanner` and `mm_per_pixel`, an annotation `lesion`
(number of the 3-D lesion within its volume) and `diameter_mm`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainers.documents import MIB, read_json, read_table, refuse_repeated, shown
from trainers.evaluation.coco_records import (
    ANNOTATIONS,
    DETECTIONS,
    IMAGES,
    LINES,
    Annotation,
    Box,
    Id,
    Image,
    named_record,
    records,
)
from trainers.evaluation.outcome import BOX, LESION_COLUMNS, SLICE_COLUMNS, Truth
from trainers.exceptions import ScoringError
from trainers.matching import DETECTION_COLUMNS

CATEGORY = {"id": 1, "name": "tumour"}
LARGEST = 1024 * MIB
"""Bytes of a COCO file: some ten million boxes."""
SLICE_KEYS = ("patient_id", "volume", "z", "scanner", "mm_per_pixel")
"""What an image, or a line of the patients' table, may say about a slice."""


@dataclass(frozen=True)
class Reference:
    """What detections on a truth refer to."""

    position: Mapping[Id, int]
    """Image id -> position of its slice."""
    category: str | None = None
    """`category_id` of the truth's boxes; None if they have none."""


def truth_json(truth: Truth, size: int) -> dict[str, Any]:
    """A truth on slices of size x size pixels in COCO's form; slice i is image i + 1."""
    images = [
        {"id": i + 1, "file_name": row["slice_id"], "width": size, "height": size, **_known(row, SLICE_COLUMNS[1:])}
        for i, row in enumerate(truth.slices.to_dict("records"))
    ]
    annotations = []
    for number, row in enumerate(truth.lesions.to_dict("records"), start=1):  # from 1: COCOeval ignores id 0
        box = _xywh(row)
        named = _known(row, ("lesion", "diameter_mm"))
        annotations.append(
            {"id": number, "image_id": int(row["slice"]) + 1, "category_id": 1, "iscrowd": 0}
            | {"bbox": box, "area": box[2] * box[3], **named}
        )
    return {"images": images, "annotations": annotations, "categories": [CATEGORY]}


def detections_json(detections: pd.DataFrame) -> list[dict[str, Any]]:
    """Detections on the slices of a truth in COCO's result form."""
    return [
        {"image_id": int(row["slice"]) + 1, "category_id": 1, "bbox": _xywh(row), "score": float(row["confidence"])}
        for row in detections.to_dict("records")
    ]


def read_truth(path: Path, patients: Path | None = None) -> tuple[Truth, Reference]:
    """Read a truth.

    Args:
        path: COCO JSON with `images` and `annotations`.
        patients: CSV with the column `image` (an image's `id` or `file_name`), `patient_id`, and any of SLICE_KEYS; it
            overrides the images. Without either, every volume counts as its own patient, and where not every image has
            a volume, every image does.

    Returns:
        The truth, and what `read_detections` needs of it.

    Raises:
        ScoringError: not of that form, a slice, an image or a box of a lesion listed twice, a box without area or
            outside its image, or no box at all.
    """
    content = read_json(path, ScoringError, LARGEST)
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ScoringError(f"{path}: holds no COCO truth; needed: a mapping with `images` and `annotations`.")
    images = records(content["images"], IMAGES, str(path), "image")
    annotations = records(content["annotations"], ANNOTATIONS, str(path), "annotation")
    position = _positions(images, path)
    if patients:
        patients_of = _patients_table(patients, images, path)
        images = [image.model_copy(update=patients_of[i]) for i, image in enumerate(images)]
    slices = _slices(images, path)
    category = _category(annotations, path)
    _refuse_repeated(annotations, path)
    lesions = pd.DataFrame(
        [_lesion(row, number, images, position, path) for number, row in enumerate(annotations)],
        columns=list(LESION_COLUMNS),
    )
    if lesions.empty:
        raise ScoringError(f"{path}: `annotations` is empty, so sensitivity is not defined; needed: at least one box.")
    scale = pd.Series([image.mm_per_pixel for image in images], dtype=np.float64).to_numpy()[lesions["slice"]]
    longer = np.maximum(lesions["x1"] - lesions["x0"], lesions["y1"] - lesions["y0"])
    told_mm = lesions["diameter_mm"].to_numpy(dtype=np.float64)
    lesions["diameter_mm"] = np.where(np.isnan(told_mm), longer * scale, told_mm)
    ordered = lesions.sort_values("slice", kind="stable", ignore_index=True)
    return Truth(slices, ordered), Reference(position, category)


def read_detections(path: Path, reference: Reference) -> pd.DataFrame:
    """Read detections: columns of `matching.DETECTION_COLUMNS`, in the file's order.

    A box without area is kept; it hits nothing and counts as a false positive, as in pycocotools. `reference` is what
    `read_truth` gives.

    Raises:
        ScoringError: not a list of boxes with scores, an image that the truth lacks, or another category than its.
    """
    content = read_json(path, ScoringError, LARGEST)
    boxes = content["annotations"] if isinstance(content, dict) and "annotations" in content else content
    rows = records(boxes, DETECTIONS, str(path), "detection")
    category = _category(rows, path)
    if None not in (category, reference.category) and category != reference.category:
        raise ScoringError(
            f"{path}: detections are of the category {category}, the truth's boxes of the category "
            f"{reference.category}; allowed: the same. Keep the lesions."
        )
    found = []
    for number, row in enumerate(rows):
        if row.image_id not in reference.position:
            raise ScoringError(
                f"{path}: detection {number} is on image_id {row.image_id!r}, which the truth does not have; allowed: "
                f"the {len(reference.position)} ids of its `images`, those without lesions included."
            )
        corners = _corners(row, f"{path}: detection {number}")
        found.append((reference.position[row.image_id], *corners, row.score))
    return pd.DataFrame(found, columns=list(DETECTION_COLUMNS)).astype({"slice": np.int64})


def _positions(images: Sequence[Image], path: Path) -> dict[Id, int]:
    if not images:
        raise ScoringError(f"{path}: `images` is empty; needed: every slice, those without lesions included.")
    ids = [image.id for image in images]
    refuse_repeated(path, "id", ids, lambda i: f"image {i} ({shown(images[i].name)})", ScoringError, "Correct one.")
    return {image_id: i for i, image_id in enumerate(ids)}


def _refuse_repeated(annotations: Sequence[Annotation], path: Path) -> None:
    """A box of a lesion that is listed twice would count twice."""

    def named(number: int) -> str:
        return f"annotation {number} (id {shown(annotations[number].id)})"

    for field, marks in (
        ("id", (row.id for row in annotations)),
        ("box", ((row.image_id, row.lesion, row.bbox) for row in annotations)),
    ):
        refuse_repeated(path, field, marks, named, ScoringError, "Correct or remove one.")


def _slices(images: Sequence[Image], path: Path) -> pd.DataFrame:
    unknown = [image for image in images if image.patient_id is None]
    if 0 < len(unknown) < len(images):
        raise ScoringError(
            f"{path}: {len(unknown)} of {len(images)} images have no patient_id (first: {unknown[0].name!r}); allowed: "
            "all or none."
        )
    by_volume = all(image.volume is not None for image in images)
    places: dict[tuple[Any, ...], Image] = {}
    rows = []
    for image in images:
        own = image.volume if by_volume else str(image.id)
        patient = own if image.patient_id is None else image.patient_id
        place = (patient, image.volume, image.z)
        if None not in place and (first := places.setdefault(place, image)) is not image:
            raise ScoringError(
                f"{path}: the images {first.name!r} and {image.name!r} are both slice z {image.z} of volume "
                f"{image.volume!r} of patient {patient!r}; allowed: one image per slice."
            )
        rows.append((image.name, patient, image.scanner, image.volume, image.z))
    slices = pd.DataFrame(rows, columns=list(SLICE_COLUMNS))
    return slices.assign(z=pd.to_numeric(slices["z"]))


def _patients_table(path: Path, images: Sequence[Image], truth: Path) -> list[dict[str, Any]]:
    """What the table says about each image, by SLICE_KEYS."""
    where = f"--patients {path}"
    rows, numbers = [], []
    for number, cells in read_table(path, ScoringError, ("image", "patient_id"), SLICE_KEYS[1:]):
        rows.append({key: cell for key, cell in cells.items() if cell})
        numbers.append(number)
    named: dict[str, set[int]] = defaultdict(set)
    for i, image in enumerate(images):
        named[str(image.id)].add(i)
        named[image.name].add(i)
    by_image: list[dict[str, Any]] = [{} for _ in images]
    for line in records(rows, LINES, where, "line", numbers):
        positions = named.get(line.image, set())
        if not positions:
            raise ScoringError(f"{where}: image {line.image!r} is neither id nor file_name in {truth}.")
        if len(positions) > 1:
            raise ScoringError(
                f"{where}: image {line.image!r} is id or file_name of {len(positions)} images in {truth}; allowed: a "
                "name that only one has."
            )
        at = min(positions)
        if by_image[at]:
            raise ScoringError(f"{where}: a second line is for the image {line.image!r}; allowed: one per image.")
        by_image[at] = {"patient_id": None} | line.model_dump(include=set(SLICE_KEYS), exclude_none=True)
    missing = [image.name for image, values in zip(images, by_image, strict=True) if values.get("patient_id") is None]
    if missing:
        raise ScoringError(
            f"{where}: {len(missing)} of {len(images)} images have no patient_id (first: {missing[0]!r}); needed: a "
            "line for every image."
        )
    return by_image


def _lesion(
    row: Annotation, number: int, images: Sequence[Image], position: Mapping[Id, int], path: Path
) -> tuple[Any, ...]:
    where = named_record(str(path), "annotation", number, {"id": row.id})
    if row.image_id not in position:
        raise ScoringError(f"{where} is on image_id {row.image_id!r}, which is not in `images`.")
    if row.iscrowd:
        raise ScoringError(f"{where} is a crowd (iscrowd {row.iscrowd}); allowed: single lesions.")
    at = position[row.image_id]
    image = images[at]
    patient = "unknown" if image.patient_id is None else image.patient_id
    where = f"{where} on image {image.name!r} of patient {patient!r}"
    x0, y0, x1, y1 = _corners(row, where)
    width, height = (math.inf if side is None else side for side in (image.width, image.height))
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ScoringError(
            f"{where} has the bbox {list(row.bbox)}; allowed: x, y, width, height with an area, inside the image "
            f"({width:g} x {height:g})."
        )
    return at, x0, y0, x1, y1, row.lesion, row.diameter_mm


def _corners(row: Box, where: str) -> tuple[float, float, float, float]:
    x, y, width, height = row.bbox
    x1, y1 = x + width, y + height
    if not (math.isfinite(x1) and math.isfinite(y1) and math.isfinite((x1 - x) * (y1 - y))):
        raise ScoringError(f"{where} has the bbox {list(row.bbox)}; allowed: corners and an area that are finite.")
    return x, y, x1, y1


def _category(rows: Sequence[Box], path: Path) -> str | None:
    """The category of all boxes, None if they have none."""
    categories = {row.category_id for row in rows}
    names = sorted(map(str, categories))
    if len(names) > 1:
        raise ScoringError(f"{path}: boxes are of the categories {', '.join(names)}; allowed: one. Keep the lesions.")
    return None if categories <= {None} else names[0]


def _known(row: Mapping[Any, Any], names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: row[name] for name in names if pd.notna(row[name])}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}


def _xywh(row: Mapping[Any, Any]) -> list[float]:
    x0, y0, x1, y1 = (float(row[side]) for side in BOX)
    return [x0, y0, x1 - x0, y1 - y0]
