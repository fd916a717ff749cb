"""A slice set as other programs read it: folders for YOLO (Ultralytics), COCO and nnU-Net, pictures as PNG.

`slices.csv` beside them holds what these formats lack, above all the patient of each picture; `slice_import` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from trainers.data.conditions import conditioning_images
from trainers.data.mask import components
from trainers.data.slice_set import SliceSet, Split
from trainers.distributed import OnProgress
from trainers.exceptions import SliceSetError

TABLE = "slices.csv"
TABLE_NEEDED = ("image", "patient_id")
TABLE_OPTIONAL = ("split", "scanner", "kind", "volume", "z", "subject_kind", "image_index")
NAME = "tumour"
"""Of the one class."""
FOLDER: Mapping[Split, str] = {"train": "train", "validation": "val", "test": "test"}
"""What other programs call a split."""
CHANNEL = "_0000"
"""Ends the names of nnU-Net's pictures of one channel."""
LONGEST_NAME = 200
COCO_KEYS = ("patient_id", "volume", "z", "scanner")
"""What `metsweep score` also reads of a picture."""


def export_slices(slices: SliceSet, form: str, out: Path, on_progress: OnProgress) -> int:
    """Write `slices` into the existing, empty folder `out` in one of FORMS.

    nnU-Net has masks instead of boxes: each box is painted, and boxes that touch on a slice become one.

    Returns:
        How many boxes are lost in this way; 0 in the other forms.

    Raises:
        SliceSetError: the name of a slice cannot be that of a file.
    """
    ids = slices.slices["slice_id"]
    for name in ids:
        if not 0 < len(name) <= LONGEST_NAME or {"/", "\\", "\0"} & set(name):
            raise SliceSetError(f"{slices.path}: the slice_id {name!r} cannot name a file; rename the slice.")
    picture_of, write_rest = FORMS[form]
    for number, (name, split) in enumerate(zip(ids, slices.slices["split"], strict=True)):
        file = out / picture_of(split, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(slices.images[number]).save(file)
        on_progress(number + 1, len(ids), {})
    merged = write_rest(slices, out)
    table = slices.slices.rename(columns={"slice_id": "image"})
    columns = [column for column in (*TABLE_NEEDED, *TABLE_OPTIONAL) if column in table]
    table[columns].to_csv(out / TABLE, index=False)
    return merged


def _write_yolo(slices: SliceSet, out: Path) -> int:
    """A label file per picture, and `data.yaml`; class, centre and sides in shares of the picture."""
    for name, split, boxes in _rows(slices):
        low, high = boxes[:, :2] / slices.size, boxes[:, 2:] / slices.size
        shares = np.hstack([(low + high) / 2, high - low])
        file = out / "labels" / FOLDER[split] / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join("0 " + " ".join(f"{share:.9f}" for share in row) + "\n" for row in shares))
    splits = {FOLDER[split]: f"images/{FOLDER[split]}" for split in _splits(slices)}
    missing = {key: next(iter(splits.values())) for key in ("train", "val") if key not in splits}  # it demands both
    (out / "data.yaml").write_text(yaml.safe_dump({**splits, **missing, "names": {0: NAME}}, sort_keys=False))
    return 0


def _write_coco(slices: SliceSet, out: Path) -> int:
    """`annotations/instances_SPLIT.json` per split."""
    (out / "annotations").mkdir()
    rows, about = _rows(slices), slices.slices.set_index("slice_id")
    extra = slices.boxes.reindex(columns=["slice_id", "lesion", "diameter_mm"]).groupby("slice_id", sort=False)
    for split in _splits(slices):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for name, of_split, boxes in rows:
            if of_split != split:
                continue
            about_slice = {key: _plain(about.at[name, key]) for key in COCO_KEYS}
            size = {"width": slices.size, "height": slices.size}
            images.append({"id": len(images) + 1, "file_name": f"{name}.png", **size, **about_slice})
            more = extra.get_group(name).to_dict("records") if len(boxes) else []
            for (x0, y0, x1, y1), row in zip(boxes.tolist(), more, strict=True):
                box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
                lesion = {key: _plain(row[key]) for key in ("lesion", "diameter_mm") if pd.notna(row[key])}
                ids = {"id": len(annotations) + 1, "image_id": len(images), "category_id": 1}  # COCOeval ignores id 0
                annotations.append({**ids, **box, **lesion})
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": NAME}]}
        (out / "annotations" / f"instances_{FOLDER[split]}.json").write_text(json.dumps(content))
    return 0


def _write_nnunet(slices: SliceSet, out: Path) -> int:
    """`labelsTr` and `labelsTs`, `dataset.json`, and `splits_final.json` for the folder of nnU-Net's preprocessing."""
    merged = 0
    for name, split, boxes in _rows(slices):
        mask = conditioning_images([boxes], slices.size)[0] > 0
        merged += len(boxes) - int(components(mask).max())
        file = out / ("labelsTs" if split == "test" else "labelsTr") / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(mask.astype(np.uint8)).save(file)
    names = {split: slices.slices.loc[slices.slices["split"] == split, "slice_id"].tolist() for split in FOLDER}
    info = {
        "channel_names": {"0": "T1c"},
        "labels": {"background": 0, NAME: 1},
        "numTraining": len(names["train"]) + len(names["validation"]),
        "file_ending": ".png",
    }
    (out / "dataset.json").write_text(json.dumps(info, indent=2))
    (out / "splits_final.json").write_text(json.dumps([{"train": names["train"], "val": names["validation"]}]))
    return merged


def _rows(slices: SliceSet) -> list[tuple[str, Split, np.ndarray]]:
    """Name, split and boxes (float64) of each slice."""
    boxes = (boxes.astype(np.float64) for boxes in slices.boxes_by_slice())
    return list(zip(slices.slices["slice_id"], slices.slices["split"], boxes, strict=True))


def _splits(slices: SliceSet) -> list[Split]:
    have = set(slices.slices["split"])
    return [split for split in get_args(Split) if split in have]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _in_folders(split: Split, name: str) -> str:
    return f"images/{FOLDER[split]}/{name}.png"


def _in_nnunet(split: Split, name: str) -> str:
    return f"{'imagesTs' if split == 'test' else 'imagesTr'}/{name}{CHANNEL}.png"


FORMS: Mapping[str, tuple[Callable[[Split, str], str], Callable[[SliceSet, Path], int]]] = {
    "yolo": (_in_folders, _write_yolo),
    "coco": (_in_folders, _write_coco),
    "nnunet": (_in_nnunet, _write_nnunet),
}
"""Format -> where a picture lies, and what writes all but the pictures and returns how many boxes it merged."""
