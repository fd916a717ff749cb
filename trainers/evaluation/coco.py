"""Truth and detections in COCO's JSON form, so that any detector's boxes can be scored, and ours by any tool.

Truth is `{"images": [...], "annotations": [...]}`, detections are the list that `COCO.loadRes` takes. Beyond COCO's own
keys an image may tell `patient_id`, `volume`, `z` (whole number), `scanner` and `mm_per_pixel`, an annotation `lesion`
(number of the 3-D lesion within its volume) and `diameter_mm`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainers.evaluation.matching import DETECTION_COLUMNS
from trainers.evaluation.outcome import BOX, LESION_COLUMNS, SLICE_COLUMNS, Truth
from trainers.exceptions import ScoringError

CATEGORY = {"id": 1, "name": "tumour"}
TOLD = ("patient_id", "volume", "z", "scanner", "mm_per_pixel")
"""What an image, or a line of the patients' table, may tell of a slice."""


def truth_json(truth: Truth, size: int) -> dict[str, Any]:
    """A truth on slices of size x size pixels in COCO's form; slice i is image i + 1."""
    images = [
        {"id": i + 1, "file_name": row["slice_id"], "width": size, "height": size, **_known(row, SLICE_COLUMNS[1:])}
        for i, row in enumerate(truth.slices.to_dict("records"))
    ]
    annotations = []
    for number, row in enumerate(truth.lesions.to_dict("records"), start=1):  # from 1: COCOeval ignores id 0
        box = _xywh(row)
        told = _known(row, ("lesion", "diameter_mm"))
        annotations.append(
            {"id": number, "image_id": int(row["slice"]) + 1, "category_id": 1, "iscrowd": 0}
            | {"bbox": box, "area": box[2] * box[3], **told}
        )
    return {"images": images, "annotations": annotations, "categories": [CATEGORY]}


def detections_json(detections: pd.DataFrame) -> list[dict[str, Any]]:
    """Detections on the slices of a truth in COCO's result form."""
    return [
        {"image_id": int(row["slice"]) + 1, "category_id": 1, "bbox": _xywh(row), "score": float(row["confidence"])}
        for row in detections.to_dict("records")
    ]


def read_truth(path: Path, patients: Path | None = None) -> tuple[Truth, dict[Any, int]]:
    """Read a truth.

    Args:
        path: COCO JSON with `images` and `annotations`.
        patients: CSV with the column `image` (an image's `id` or `file_name`), `patient_id`, and any of TOLD; goes
            before what the images say. Without either every image counts as a patient of its own.

    Returns:
        The truth, and image id -> position of its slice.

    Raises:
        ScoringError: not of that form, a box without area or outside its image, or no box at all.
    """
    content = _load(path)
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ScoringError(f"{path}: holds no COCO truth; needed: a mapping with `images` and `annotations`.")
    images, annotations = (
        _records(content["images"], path, "images"),
        _records(content["annotations"], path, "annotations"),
    )
    position = _positions(images, path)
    slices = _slices(images, path, _patients_table(patients, images, path) if patients else {})
    _refuse_several_categories(annotations, path)
    lesions = pd.DataFrame([_lesion(row, images, position, path) for row in annotations], columns=list(LESION_COLUMNS))
    if lesions.empty:
        raise ScoringError(f"{path}: `annotations` is empty, so sensitivity is not defined; needed: at least one box.")
    scale = slices.pop("mm_per_pixel").to_numpy(dtype=np.float64)[lesions["slice"]]
    longer = np.maximum(lesions["x1"] - lesions["x0"], lesions["y1"] - lesions["y0"])
    lesions["diameter_mm"] = lesions["diameter_mm"].astype(np.float64).fillna(longer * scale)
    ordered = lesions.sort_values("slice", kind="stable", ignore_index=True)
    return Truth(slices, ordered), position


def read_detections(path: Path, position: Mapping[Any, int]) -> pd.DataFrame:
    """Read detections: columns of `matching.DETECTION_COLUMNS`, in the file's order.

    A box without area is kept; it hits nothing and counts as a false positive, as in pycocotools.

    Args:
        position: image id -> slice, of `read_truth`.

    Raises:
        ScoringError: not a list of boxes with scores, or an image that the truth lacks.
    """
    content = _load(path)
    rows = _records(content["annotations"] if isinstance(content, dict) and "annotations" in content else content,
                    path, "detections")  # fmt: skip
    _refuse_several_categories(rows, path)
    found = []
    for number, row in enumerate(rows):
        where = f"{path}: detection {number}"
        image = row.get("image_id")
        if image not in position:
            raise ScoringError(
                f"{where} is on image_id {image!r}, which the truth does not have; allowed: the {len(position)} ids of "
                "its `images`, those without lesions included."
            )
        found.append((position[image], *_corners(row, where), _number(row, "score", where)))
    return pd.DataFrame(found, columns=list(DETECTION_COLUMNS)).astype({"slice": np.int64})


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScoringError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise ScoringError(f"{path}: is not JSON ({error}).") from None


def _records(rows: Any, path: Path, what: str) -> list[dict[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ScoringError(f"{path}: {what} are {type(rows).__name__}; needed: a list of mappings, as in COCO.")
    return rows


def _positions(images: list[dict[str, Any]], path: Path) -> dict[Any, int]:
    if not images:
        raise ScoringError(f"{path}: `images` is empty; needed: every slice, those without lesions included.")
    position = {image.get("id"): i for i, image in enumerate(images)}
    if None in position or len(position) < len(images):
        raise ScoringError(f"{path}: an image's `id` is missing or there twice; needed: a different id for each.")
    return position


def _slices(images: list[dict[str, Any]], path: Path, told: Mapping[int, Mapping[str, Any]]) -> pd.DataFrame:
    rows = []
    for i, image in enumerate(images):
        row = {**{name: image.get(name) for name in TOLD}, **told.get(i, {})}
        name = str(image.get("file_name", image["id"]))
        rows.append({"slice_id": name, **row, "patient_id": name if row["patient_id"] is None else row["patient_id"]})
    slices = pd.DataFrame(rows, columns=[*SLICE_COLUMNS, "mm_per_pixel"])
    for name in ("z", "mm_per_pixel"):
        numbers = pd.to_numeric(slices[name], errors="coerce")
        if (wrong := slices[name].notna() & numbers.isna()).any():
            row = slices[wrong].iloc[0]
            raise ScoringError(f"{path}: image {row['slice_id']!r} has {name} {row[name]!r}; allowed: a number.")
        slices[name] = numbers
    return slices


def _patients_table(path: Path, images: list[dict[str, Any]], truth: Path) -> dict[int, dict[str, Any]]:
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise ScoringError(f"--patients {path}: cannot be read as CSV ({error}).") from None
    if not {"image", "patient_id"} <= set(table.columns):
        raise ScoringError(
            f"--patients {path}: has the columns {list(table.columns)}; needed: image, patient_id; allowed beside "
            f"them: {', '.join(TOLD[1:])}."
        )
    by_name = {str(image[key]): i for key in ("file_name", "id") for i, image in enumerate(images) if key in image}
    told = {}
    for row in table.to_dict("records"):
        if row["image"] not in by_name:
            raise ScoringError(f"--patients {path}: image {row['image']!r} is neither id nor file_name in {truth}.")
        told[by_name[row["image"]]] = {name: row[name] for name in TOLD if isinstance(row.get(name), str)}
    missing = [i for i in range(len(images)) if "patient_id" not in told.get(i, {})]
    if missing:
        name = images[missing[0]].get("file_name", images[missing[0]]["id"])
        raise ScoringError(
            f"--patients {path}: {len(missing)} of {len(images)} images have no patient_id (first: {name!r}); needed: "
            "a line for every image."
        )
    return told


def _lesion(
    row: dict[str, Any], images: list[dict[str, Any]], position: Mapping[Any, int], path: Path
) -> tuple[Any, ...]:
    where = f"{path}: annotation {row.get('id')!r}"
    if row.get("image_id") not in position:
        raise ScoringError(f"{where} is on image_id {row.get('image_id')!r}, which is not in `images`.")
    if row.get("iscrowd"):
        raise ScoringError(f"{where} is a crowd (iscrowd 1); allowed: single lesions.")
    at = position[row["image_id"]]
    image = images[at]
    name = f"image {image.get('file_name', image['id'])!r}, patient {image.get('patient_id', 'unknown')!r}"
    x0, y0, x1, y1 = _corners(row, where)
    size = [image.get(side, np.inf) for side in ("width", "height")]
    if not (x0 < x1 and y0 < y1 and x0 >= 0 and y0 >= 0 and x1 <= size[0] and y1 <= size[1]):
        raise ScoringError(
            f"{where} ({name}) has the bbox {row['bbox']}; allowed: x, y, width, height with an area, inside the image "
            f"({size[0]} x {size[1]})."
        )
    return at, x0, y0, x1, y1, row.get("lesion"), row.get("diameter_mm")


def _corners(row: dict[str, Any], where: str) -> tuple[float, float, float, float]:
    box = row.get("bbox")
    numbers = box if isinstance(box, list) and all(isinstance(side, int | float) for side in box) else []
    if len(numbers) != 4 or not np.isfinite(numbers).all() or min(numbers[2:]) < 0:
        raise ScoringError(f"{where} has the bbox {box!r}; allowed: four finite numbers x, y, width, height.")
    x, y, width, height = map(float, numbers)
    return x, y, x + width, y + height


def _number(row: dict[str, Any], key: str, where: str) -> float:
    value = row.get(key)
    if not isinstance(value, int | float) or not np.isfinite(value):
        raise ScoringError(f"{where} has the {key} {value!r}; allowed: a finite number.")
    return float(value)


def _refuse_several_categories(rows: list[dict[str, Any]], path: Path) -> None:
    categories = sorted({str(row.get("category_id")) for row in rows})
    if len(categories) > 1:
        raise ScoringError(
            f"{path}: boxes are of the categories {', '.join(categories)}; allowed: one. Keep the lesions."
        )


def _known(row: Mapping[Any, Any], names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: row[name] for name in names if pd.notna(row[name])}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}


def _xywh(row: Mapping[Any, Any]) -> list[float]:
    x0, y0, x1, y1 = (float(row[side]) for side in BOX)
    return [x0, y0, x1 - x0, y1 - y0]
