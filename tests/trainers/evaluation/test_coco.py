from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.trainers.evaluation.cases import random_case
from trainers.evaluation.coco import detections_json, read_detections, read_truth, truth_json
from trainers.exceptions import ScoringError

IMAGES = [
    {"id": "one", "file_name": "1.png", "width": 64, "height": 64, "patient_id": "A"},
    {"id": "two", "file_name": "2.png", "width": 64, "height": 64, "patient_id": "B"},
]
LESION = {"id": 1, "image_id": "one", "bbox": [10, 10, 8, 6], "category_id": 1}


def write(folder: Path, content: Any, name: str = "truth.json") -> Path:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / name


def truth_file(folder: Path, **changes: Any) -> Path:
    return write(folder, {"images": IMAGES, "annotations": [LESION]} | changes)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    truth, detections = random_case(np.random.default_rng(0), patients=3)
    again, position = read_truth(write(tmp_path, truth_json(truth, 256)))
    pd.testing.assert_frame_equal(again.slices, truth.slices)
    pd.testing.assert_frame_equal(again.lesions, truth.lesions, check_dtype=False)
    found = read_detections(write(tmp_path, detections_json(detections), "detections.json"), position)
    pd.testing.assert_frame_equal(found, detections, check_dtype=False)


def test_plain_coco_counts_every_image_as_a_patient(tmp_path: Path) -> None:
    images = [{"id": 7, "width": 64, "height": 64}, {"id": 3, "width": 64, "height": 64}]
    truth, position = read_truth(truth_file(tmp_path, images=images, annotations=[LESION | {"image_id": 3}]))
    assert position == {7: 0, 3: 1}
    assert truth.slices["patient_id"].tolist() == ["7", "3"]
    assert truth.lesions["slice"].tolist() == [1]
    assert truth.lesions[["lesion", "diameter_mm"]].isna().all(axis=None)
    assert truth.slices[["volume", "z", "scanner"]].isna().all(axis=None)


def test_pixel_size_gives_diameters_that_are_not_told(tmp_path: Path) -> None:
    images = [image | {"mm_per_pixel": 0.5} for image in IMAGES]
    told = LESION | {"id": 2, "diameter_mm": 11.0}
    truth, _ = read_truth(truth_file(tmp_path, images=images, annotations=[LESION, told]))
    assert truth.lesions["diameter_mm"].tolist() == [4.0, 11.0]


def test_patients_table_goes_before_the_images(tmp_path: Path) -> None:
    table = write(tmp_path, "image,patient_id,volume,z,scanner\n1.png,X,v,3,3T\ntwo,X,v,4,3T\n", "patients.csv")
    truth, _ = read_truth(truth_file(tmp_path), table)
    assert truth.slices["patient_id"].tolist() == ["X", "X"]
    assert truth.slices["z"].tolist() == [3, 4]
    assert truth.slices["scanner"].tolist() == ["3T", "3T"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": []}, "`annotations` is empty"),
        ({"images": []}, "`images` is empty"),
        ({"images": {}}, "needed: a list of mappings"),
        ({"images": [IMAGES[0], IMAGES[0]]}, "there twice"),
        ({"annotations": [LESION | {"image_id": "three"}]}, "image_id 'three', which is not in `images`"),
        ({"annotations": [LESION | {"iscrowd": 1}]}, "crowd"),
        ({"annotations": [LESION, LESION | {"id": 2, "category_id": 2}]}, "categories 1, 2; allowed: one"),
        ({"annotations": [LESION | {"bbox": [10, 10, 0, 6]}]}, r"image '1.png', patient 'A'\) has the bbox"),
        ({"annotations": [LESION | {"bbox": [60, 10, 8, 6]}]}, "inside the image"),
        ({"annotations": [LESION | {"bbox": [10, 10, float("nan"), 6]}]}, "four finite numbers"),
        ({"annotations": [LESION | {"bbox": [10, 10, 8]}]}, "four finite numbers"),
        ({"images": [IMAGES[0] | {"z": "high"}, IMAGES[1]]}, "has z 'high'; allowed: a number"),
    ],
)
def test_bad_truth_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        read_truth(truth_file(tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": "three", "bbox": [0, 0, 1, 1], "score": 0.5}], "detection 0 is on image_id 'three'"),
        ([{"image_id": "one", "bbox": [0, 0, 1, 1]}], "score None; allowed: a finite number"),
        ([{"image_id": "one", "bbox": [0, 0, -1, 1], "score": 0.5}], "four finite numbers"),
        ([3], "needed: a list of mappings"),
        ("not json", "is not JSON"),
    ],
)
def test_bad_detections_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        read_detections(write(tmp_path, content, "detections.json"), {"one": 0, "two": 1})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,patient_id\n1.png,X\n", "1 of 2 images have no patient_id .first: '2.png'"),
        ("image,patient_id\n9.png,X\n", "'9.png' is neither id nor file_name"),
        ("file,patient\n1.png,X\n", "needed: image, patient_id"),
    ],
)
def test_bad_patients_table_is_refused(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        read_truth(truth_file(tmp_path), write(tmp_path, table, "patients.csv"))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="cannot be read"):
        read_truth(tmp_path / "nothing.json")
