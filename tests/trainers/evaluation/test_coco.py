from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.trainers.evaluation.cases import random_case
from trainers.evaluation.coco import Reference, detections_json, read_detections, read_truth, truth_json
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
    again, reference = read_truth(write(tmp_path, truth_json(truth, 256)))
    pd.testing.assert_frame_equal(again.slices, truth.slices)
    pd.testing.assert_frame_equal(again.lesions, truth.lesions, check_dtype=False)
    found = read_detections(write(tmp_path, detections_json(detections), "detections.json"), reference)
    pd.testing.assert_frame_equal(found, detections, check_dtype=False)


def test_plain_coco_counts_every_image_as_a_patient(tmp_path: Path) -> None:
    images = [{"id": 7, "width": 64, "height": 64}, {"id": 3, "width": 64, "height": 64}]
    truth, reference = read_truth(truth_file(tmp_path, images=images, annotations=[LESION | {"image_id": 3}]))
    assert reference == Reference({7: 0, 3: 1}, "1")
    assert truth.slices["patient_id"].tolist() == ["7", "3"]
    assert truth.lesions["slice"].tolist() == [1]
    assert truth.lesions[["lesion", "diameter_mm"]].isna().all(axis=None)
    assert truth.slices[["volume", "z", "scanner"]].isna().all(axis=None)


def test_pixel_size_gives_diameters_that_are_not_told(tmp_path: Path) -> None:
    images = [image | {"mm_per_pixel": 0.5} for image in IMAGES]
    told = LESION | {"id": 2, "bbox": [30, 10, 8, 6], "diameter_mm": 11.0}
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
        ({"images": [IMAGES[0], IMAGES[1] | {"id": "one"}]}, r"image 1 .'2.png'. has the id of image 0 .'1.png'."),
        ({"annotations": [LESION | {"image_id": "three"}]}, "image_id 'three', which is not in `images`"),
        ({"annotations": [LESION | {"iscrowd": 1}]}, "crowd"),
        ({"annotations": [LESION, LESION | {"id": 2, "category_id": 2}]}, "categories 1, 2; allowed: one"),
        ({"annotations": [LESION | {"bbox": [10, 10, 0, 6]}]}, "on image '1.png' of patient 'A' has the bbox"),
        ({"annotations": [LESION | {"bbox": [60, 10, 8, 6]}]}, "inside the image"),
        ({"annotations": [LESION | {"bbox": [10, 10, float("nan"), 6]}]}, "four finite numbers"),
        ({"annotations": [LESION | {"bbox": [10, 10, 8]}]}, "four finite numbers"),
        ({"images": [IMAGES[0] | {"z": "high"}, IMAGES[1]]}, r"image 0 .id 'one'. has the z 'high'; allowed: a whole"),
        ({"images": [IMAGES[0] | {"z": "inf"}, IMAGES[1]]}, "has the z 'inf'; allowed: a whole number"),
        ({"images": [IMAGES[0] | {"z": 1.5}, IMAGES[1]]}, "has the z 1.5; allowed: a whole number"),
        ({"images": [IMAGES[0], IMAGES[1] | {"width": "abc"}]}, "image 1 .id 'two'. has the width 'abc'"),
        (
            {"images": [IMAGES[0] | {"id": [1]}, IMAGES[1]]},
            r"image 0 .* has the id \[1\]; allowed: a whole number or a",
        ),
        ({"images": [{"width": 64}, IMAGES[1]]}, "image 0 has the id None"),
        ({"images": [IMAGES[0] | {"scanner": ["a"]}, IMAGES[1]]}, "has the scanner"),
        ({"images": [IMAGES[0] | {"patient_id": ["a"]}, IMAGES[1]]}, "has the patient_id"),
        ({"images": [IMAGES[0] | {"mm_per_pixel": 0}, IMAGES[1]]}, "has the mm_per_pixel 0; allowed: .* above 0"),
        ({"images": [IMAGES[0], IMAGES[1] | {"patient_id": None}]}, "1 of 2 images have no patient_id .first: '2.png'"),
        (
            {"images": [image | {"patient_id": "A", "volume": "v", "z": 3} for image in IMAGES]},
            "images '1.png' and '2.png' are both slice z 3 of volume 'v' of patient 'A'",
        ),
        ({"annotations": [LESION | {"image_id": ["one"]}]}, "annotation 0 .id 1. has the image_id"),
        ({"annotations": [LESION | {"lesion": [1]}]}, "has the lesion"),
        ({"annotations": [LESION | {"diameter_mm": "big"}]}, "has the diameter_mm 'big'"),
        ({"annotations": [LESION | {"diameter_mm": -1}]}, "has the diameter_mm -1; allowed: .* above 0"),
        (
            {"images": [{"id": "one"}], "annotations": [LESION | {"bbox": [1e308, 1, 1e308, 1]}]},
            "corners and an area that are finite",
        ),
        (
            {"annotations": [LESION, LESION | {"bbox": [1, 1, 2, 2]}]},
            "annotation 1 .id 1. has the id of annotation 0 .id 1.; allowed: once",
        ),
        (
            {"annotations": [LESION, LESION | {"id": 2}]},
            r"annotation 1 .id \d. has the box of annotation 0 .id \d.; allowed: once",
        ),
        (
            {"annotations": [LESION | {"id": number, "lesion": 5} for number in range(2)]},
            r"annotation 1 .id \d. has the box of annotation 0 .id \d.; allowed: once",
        ),
        ({"images": [IMAGES[0], IMAGES[1] | {"scanner": "a\x1bb"}]}, "has the scanner 'a.x1bb'; allowed: .*one line"),
        ({"images": [IMAGES[0] | {"id": int("9" * 19)}, IMAGES[1]]}, "line 1: a whole number has 19 digits"),
        ({"images": [IMAGES[0] | {"file_name": "\ud800"}]}, r"images\.0\.file_name holds '.ud800', of which a part is"),
        ({"images": "[" * 60 + "]" * 60}, "needed: a list of mappings"),
        ({"annotations": [3]}, "annotation 0 is 3; needed: a list of mappings"),
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
        (
            [{"image_id": ["one"], "bbox": [0, 0, 1, 1], "score": 0.5}],
            "has the image_id .*; allowed: a whole number or",
        ),
        ([{"image_id": "one", "bbox": [0, 0, 1, 1], "score": "high"}], "detection 0 has the score 'high'"),
        ([{"image_id": "one", "bbox": [1e308, 0, 1e308, 1], "score": 1}], "corners and an area that are finite"),
        (
            [{"image_id": "one", "bbox": [0, 0, 1, 1], "score": 1, "category_id": 2}],
            "category 2, the truth's .* 1; all",
        ),
        ([3], "needed: a list of mappings"),
        ("not json", "line 1: not valid JSON"),
    ],
)
def test_bad_detections_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        read_detections(write(tmp_path, content, "detections.json"), Reference({"one": 0, "two": 1}, "1"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,patient_id\n1.png,X\n", "1 of 2 images have no patient_id .first: '2.png'"),
        ("image,patient_id\n1.png,X\ntwo,Y,\n", "line 3: has 3 fields"),
        ("image,patient_id\n9.png,X\n", "'9.png' is neither id nor file_name"),
        ("file,patient\n1.png,X\n", "needed: image, patient_id"),
        (
            "image,patient_id,zed\n1.png,X,1\ntwo,X,2\n",
            "line 1: got the columns image, patient_id, zed; .*; allowed besides: volume, z",
        ),
        ("image,patient_id\n1.png,X\n2.png,Y\none,Z\n", "a second line is for the image 'one'"),
        ("image,patient_id,z\n1.png,X,inf\ntwo,X,2\n", "patients.csv: line 2 .image '1.png'. has the z 'inf'"),
    ],
)
def test_bad_patients_table_is_refused(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        read_truth(truth_file(tmp_path), write(tmp_path, table, "patients.csv"))


def test_a_lesion_may_have_two_boxes_on_an_image_and_two_lesions_the_same(tmp_path: Path) -> None:
    boxes = ((5, [10, 10, 8, 6]), (5, [30, 10, 8, 6]), (6, [10, 10, 8, 6]))
    parts = [LESION | {"id": i, "lesion": lesion, "bbox": box} for i, (lesion, box) in enumerate(boxes)]
    assert len(read_truth(truth_file(tmp_path, annotations=parts))[0].lesions) == 3


def test_patients_may_have_any_name(tmp_path: Path) -> None:
    table = write(tmp_path, "\ufeffimage; patient_id; scanner\n1.png; NA; null\ntwo; 007; 1e5\n", "patients.csv")
    truth, _ = read_truth(truth_file(tmp_path), table)
    assert truth.slices[["patient_id", "scanner"]].to_numpy().tolist() == [["NA", "null"], ["007", "1e5"]]


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = json.dumps([{"image_id": "one", "bbox": [0, 0, 1, 1], "score": 0.5}]).replace("}", ', "score": 0.9}')
    with pytest.raises(ScoringError, match=r"detections\.json, line 1: the key 'score' occurs twice in"):
        read_detections(write(tmp_path, text, "detections.json"), Reference({"one": 0}))


def test_a_name_of_two_images_is_refused(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "2"}, {"id": 2, "file_name": "3"}]
    truth = truth_file(tmp_path, images=images, annotations=[LESION | {"image_id": 1}])
    with pytest.raises(ScoringError, match="image '2' is id or file_name of 2 images"):
        read_truth(truth, write(tmp_path, "image,patient_id\n1,X\n2,Y\n", "patients.csv"))


def test_slices_of_one_volume_are_one_patient_if_patients_are_not_told(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": "same.png", "volume": volume, "z": i} for i, volume in enumerate("vvw")]
    truth, _ = read_truth(truth_file(tmp_path, images=images, annotations=[LESION | {"image_id": 0}]))
    assert truth.slices["patient_id"].tolist() == ["v", "v", "w"]
    del images[2]["volume"]
    truth, _ = read_truth(truth_file(tmp_path, images=images, annotations=[LESION | {"image_id": 0}]))
    assert truth.slices["patient_id"].tolist() == ["0", "1", "2"]


def test_a_category_that_only_one_file_tells_is_accepted(tmp_path: Path) -> None:
    box = {"image_id": "one", "bbox": [0, 0, 1, 1], "score": 0.5}
    for told, category in (({}, "1"), ({"category_id": 3}, None)):
        file = write(tmp_path, [box | told], "detections.json")
        assert len(read_detections(file, Reference({"one": 0}, category))) == 1


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="cannot be read"):
        read_truth(tmp_path / "nothing.json")
