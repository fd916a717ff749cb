"""Slice sets go to YOLO, COCO and nnU-Net folders and come back; Ultralytics and pycocotools load what is written."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from tests.made_once import made_once
from tests.trainers.data.phantom import make_cohort
from trainers.data.cohort import open_cohort
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.slice_export import export_slices
from trainers.data.slice_import import import_slices
from trainers.data.slice_set import BOX_COLUMNS, SliceSet, open_slice_set, write_slice_set
from trainers.exceptions import SliceSetError

FORMS = ("yolo", "coco", "nnunet")


def make(folder: Path) -> None:
    cohort = open_cohort(make_cohort(folder / "cohort", patients=3, normals=1))
    prepare(cohort, PrepareConfig(size=64), folder / "slices", lambda *_: None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    return open_slice_set(made_once(tmp_path_factory, "to-exchange", make) / "slices")


def exported(slices: SliceSet, form: str, out: Path) -> Path:
    out.mkdir()
    assert export_slices(slices, form, out, lambda *_: None) == 0, "no box touches another"
    return out


def imported(form: str, source: Path, out: Path, patients: Path | None = None, size: int | None = None) -> SliceSet:
    import_slices(form, source, out, lambda *_: None, patients, size)
    return open_slice_set(out)


@pytest.mark.parametrize("form", FORMS)
def test_a_slice_set_comes_back_as_it_was(form: str, prepared: SliceSet, tmp_path: Path) -> None:
    assert len(prepared.boxes) > 5
    again = imported(form, exported(prepared, form, tmp_path / form), tmp_path / "again")
    assert (np.asarray(again.images) == np.asarray(prepared.images)).all()
    pd.testing.assert_frame_equal(again.slices, prepared.slices, check_dtype=False)
    columns = list(BOX_COLUMNS)
    pd.testing.assert_frame_equal(
        again.boxes.sort_values(columns, ignore_index=True),
        prepared.boxes[columns].sort_values(columns, ignore_index=True),
        check_dtype=False,
    )


def test_synthetic_slices_stay_synthetic(synthetic_discs: SliceSet, tmp_path: Path) -> None:
    again = imported("yolo", exported(synthetic_discs, "yolo", tmp_path / "yolo"), tmp_path / "again")
    assert again.is_synthetic
    pd.testing.assert_frame_equal(again.slices, synthetic_discs.slices, check_dtype=False)
    data = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert data["train"] == data["val"] == "images/train", "Ultralytics demands both"


def test_ultralytics_reads_the_yolo_folder(prepared: SliceSet, tmp_path: Path) -> None:
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    folder = exported(prepared, "yolo", tmp_path / "yolo")
    data = check_det_dataset(str(folder / "data.yaml"))
    assert (data["nc"], data["names"]) == (1, {0: "tumour"})
    read = YOLODataset(img_path=data["train"], data=data, imgsz=64, augment=False)
    train = prepared.slices[prepared.slices["split"] == "train"]
    assert sorted(Path(file).stem for file in read.im_files) == sorted(train["slice_id"])
    for label in read.labels:
        of_slice = prepared.boxes[prepared.boxes["slice_id"] == Path(label["im_file"]).stem]
        x, y, width, height = label["bboxes"].T * prepared.size
        corners = np.column_stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        assert np.allclose(corners, of_slice[["x0", "y0", "x1", "y1"]].to_numpy(), atol=1e-3)


def test_pycocotools_reads_the_coco_folder_and_counts_its_own_boxes_as_hits(prepared: SliceSet, tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    folder = exported(prepared, "coco", tmp_path / "coco")
    file = folder / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    keys = ("image_id", "category_id", "bbox")
    detections = [{**{key: box[key] for key in keys}, "score": 1} for box in content["annotations"]]
    (tmp_path / "detections.json").write_text(json.dumps(detections))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "detections.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
    assert len(truth.getImgIds()) == (prepared.slices["split"] == "train").sum()
    for image in content["images"]:
        assert (folder / "images" / "train" / image["file_name"]).is_file()
        row = prepared.slices.set_index("slice_id").loc[Path(image["file_name"]).stem]
        assert {key: image[key] for key in ("patient_id", "z")} == {"patient_id": row["patient_id"], "z": row["z"]}
    assert {"lesion", "diameter_mm"} <= content["annotations"][0].keys()


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ("images", r"image 1 \('.+'\) has the id of image 0 \('.+'\)"),
        ("annotations", "annotation 1 .id 1. has the id of annotation 0"),
    ],
)
def test_a_coco_folder_with_an_id_twice_is_refused(
    records: str, message: str, prepared: SliceSet, tmp_path: Path
) -> None:
    folder = exported(prepared, "coco", tmp_path / "coco")
    file = folder / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content[records][1]["id"] = content[records][0]["id"]
    file.write_text(json.dumps(content))
    with pytest.raises(SliceSetError, match=message):
        imported("coco", folder, tmp_path / "again")


def test_nnunets_folder_is_as_it_demands(prepared: SliceSet, tmp_path: Path) -> None:
    folder = exported(prepared, "nnunet", tmp_path / "nnunet")
    info = json.loads((folder / "dataset.json").read_text())
    cases = [file.name.removesuffix("_0000.png") for file in (folder / "imagesTr").iterdir()]
    assert info["numTraining"] == len(cases)
    for case in cases:
        mask = np.asarray(Image.open(folder / "labelsTr" / f"{case}.png"))
        assert set(np.unique(mask)) <= set(info["labels"].values())
        for x0, y0, x1, y1 in prepared.boxes.loc[
            prepared.boxes["slice_id"] == case, ["x0", "y0", "x1", "y1"]
        ].to_numpy():
            assert mask[y0:y1, x0:x1].all()
    (fold,) = json.loads((folder / "splits_final.json").read_text())
    assert sorted([*fold["train"], *fold["val"]]) == sorted(cases)


def test_boxes_that_touch_are_counted_before_nnunet_loses_them(prepared: SliceSet, tmp_path: Path) -> None:
    first = prepared.boxes.iloc[[0]]
    beside = first.assign(x0=first["x1"], x1=first["x1"] + 2)
    boxes = pd.concat([prepared.boxes, beside], ignore_index=True)
    write_slice_set(tmp_path / "touching", np.asarray(prepared.images), prepared.slices, boxes, {})
    (tmp_path / "nnunet").mkdir()
    assert export_slices(open_slice_set(tmp_path / "touching"), "nnunet", tmp_path / "nnunet", lambda *_: None) == 1


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Two JPEG pictures, wider than high, as others lay them out for YOLO."""
    folder = tmp_path / "foreign"
    for split, name, grey in (("train", "a", 30), ("valid", "b", 40)):
        (folder / split / "images").mkdir(parents=True)
        (folder / split / "labels").mkdir()
        picture = np.full((60, 100), grey, dtype=np.uint8)
        picture[20:30, 50:70] = 220
        Image.fromarray(picture).convert("RGB").save(folder / split / "images" / f"{name}.jpg", quality=95)
        (folder / split / "labels" / f"{name}.txt").write_text("0 0.6 0.4166667 0.2 0.1666667\n")
    (folder / "data.yaml").write_text(yaml.safe_dump({"train": "train/images", "val": "valid/images", "nc": 1}))
    return folder


def table(folder: Path, text: str) -> Path:
    (folder / "patients.csv").write_text(text)
    return folder / "patients.csv"


def test_foreign_pictures_are_padded_and_scaled_with_their_boxes(foreign: Path, tmp_path: Path) -> None:
    patients = table(tmp_path, "image,patient_id,scanner\nb.jpg,Q,3T\na.jpg,P,1.5T\n")
    slices = imported("yolo", foreign, tmp_path / "slices", patients, size=200)
    assert slices.slices[["slice_id", "patient_id", "split", "scanner", "kind"]].to_numpy().tolist() == [
        ["b", "Q", "validation", "3T", "tumour"], ["a", "P", "train", "1.5T", "tumour"],
    ]  # fmt: skip
    x0, y0, x1, y1 = slices.boxes.loc[0, ["x0", "y0", "x1", "y1"]].astype(int)
    assert (x0, y0, x1, y1) == (100, 80, 140, 100)
    bright = np.argwhere(cv2.blur(np.asarray(slices.images[0]), (3, 3)) > 125)
    assert np.abs(bright.min(axis=0) - [y0, x0]).max() <= 2
    assert np.abs(bright.max(axis=0) + 1 - [y1, x1]).max() <= 2


def test_pictures_without_patient_split_or_size_are_refused(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SliceSetError, match=r"slices\.csv does not exist; needed: a CSV with the columns image, patient_id"
    ):
        imported("yolo", foreign, tmp_path / "x")
    patients = table(tmp_path, "image,patient_id\na,P\n")
    with pytest.raises(SliceSetError, match="lacks 1 of 2 pictures, 'b' first"):
        imported("yolo", foreign, tmp_path / "x", patients)
    patients = table(tmp_path, "image,patient_id\na,P\nb,P\n")
    with pytest.raises(SliceSetError, match=r"pictures have 100 x 60 pixels; allowed: squares\. --size"):
        imported("yolo", foreign, tmp_path / "x", patients)
    with pytest.raises(SliceSetError, match="patient 'P' is in more than one split"):
        imported("yolo", foreign, tmp_path / "x", patients, size=64)
    with pytest.raises(SliceSetError, match=r"holds no pictures as nnunet lays them out \(dataset"):
        imported("nnunet", foreign, tmp_path / "x", patients)
    shutil.move(foreign / "valid", foreign / "other")
    with pytest.raises(SliceSetError, match=r"b\.jpg: its split is unknown; allowed: train, validation, test"):
        imported("yolo", foreign, tmp_path / "x", patients, size=64)
    Image.new("RGB", (100, 60), "red").save(foreign / "train" / "images" / "a.jpg")
    with pytest.raises(SliceSetError, match=r"a\.jpg: has colours"):
        imported("yolo", foreign, tmp_path / "x", patients, size=64)
    (foreign / "train" / "images" / "a.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(SliceSetError, match=r"a\.jpg: cannot be read as a picture"):
        imported("yolo", foreign, tmp_path / "x", patients, size=64)
    shutil.copy(foreign / "other" / "images" / "b.jpg", foreign / "train" / "images" / "b.jpg")
    with pytest.raises(SliceSetError, match="several pictures are called 'b'"):
        imported("yolo", foreign, tmp_path / "x", patients, size=64)
    assert not (tmp_path / "x").exists()


def test_yolo_labels_beside_the_pictures_are_read_and_those_of_no_picture_refused(
    foreign: Path, tmp_path: Path
) -> None:
    patients = table(tmp_path, "image,patient_id\na,P\nb,Q\n")
    for split, name in (("train", "a"), ("valid", "b")):
        (foreign / split / "labels" / f"{name}.txt").rename(foreign / split / "images" / f"{name}.txt")
    (foreign / "train" / "labels" / "classes.txt").write_text("tumour\n")
    (foreign / "train.txt").write_text("train/images/a.jpg\n")
    assert len(imported("yolo", foreign, tmp_path / "slices", patients, size=64).boxes) == 2
    label = foreign / "train" / "images" / "a.txt"
    for other in ("images/a.jpg.txt", "images/a_label.txt", "labels/c.txt"):
        label = label.rename(foreign / "train" / other)
        with pytest.raises(SliceSetError, match=rf"{other}: there is no picture '.+' in .*Rename one, or add it"):
            imported("yolo", foreign, tmp_path / "refused", patients, size=64)
    label.rename(foreign / "train" / "images" / "a.txt")
    (foreign / "train" / "labels" / "a.txt").write_text("")
    with pytest.raises(SliceSetError, match="are both labels of the picture 'a'; allowed: one"):
        imported("yolo", foreign, tmp_path / "refused", patients, size=64)


def test_yolo_labels_of_another_class_are_refused(foreign: Path, tmp_path: Path) -> None:
    (foreign / "valid" / "labels" / "b.txt").write_text("3 0.6 0.4166667 0.2 0.1666667\n")
    with pytest.raises(SliceSetError, match=r"b\.txt: its boxes are of the categories '0' .*a\.txt.* and '3'"):
        imported("yolo", foreign, tmp_path / "x", table(tmp_path, "image,patient_id\na,P\nb,Q\n"), size=64)


def test_nnunets_channel_and_lesions_are_those_of_its_dataset_json(tmp_path: Path) -> None:
    folder = tmp_path / "nnunet"
    names = {"background": 0, "metastasis": 1, "edema": 2}
    for name, part, air in (("a", "Tr", 0), ("b", "Ts", 3)):
        mask = np.zeros((64, 64), dtype=np.uint8)
        mask[5:20, 5:20], mask[10:14, 8:12] = 2, 1
        t1c = np.maximum(100 * mask, air).astype(np.uint8)
        for file, pixels in (
            (f"images{part}/{name}_0000.png", mask), (f"images{part}/{name}_0001.png", t1c),
            (f"labels{part}/{name}.png", mask),
        ):  # fmt: skip
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / file)
    patients = table(tmp_path, "image,patient_id,split\na,P,train\nb,Q,test\n")
    with pytest.raises(SliceSetError, match=r"dataset\.json"):
        imported("nnunet", folder, tmp_path / "x", patients)
    info = {"channel_names": {"0": "FLAIR", "1": "T1c"}, "labels": names, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(info))
    slices = imported("nnunet", folder, tmp_path / "slices", patients)
    assert slices.boxes[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[8, 10, 12, 14]] * 2
    assert np.asarray(slices.images).max() == 200
    Image.fromarray(np.full((64, 64), 7, dtype=np.uint8)).save(folder / "labelsTr" / "a.png")
    with pytest.raises(SliceSetError, match=r"a\.png: holds the value 7; allowed: .* dataset\.json names, 0, 1, 2"):
        imported("nnunet", folder, tmp_path / "x", patients)
    shutil.move(folder / "imagesTr" / "a_0001.png", tmp_path)
    with pytest.raises(SliceSetError, match=r"a\.png: there is no picture a_0001 of it in imagesTr"):
        imported("nnunet", folder, tmp_path / "x", patients)


@pytest.mark.parametrize(("patient", "split"), [("B9", "train"), ("P000", "test")])
def test_one_picture_of_two_patients_or_in_two_splits_is_refused(
    prepared: SliceSet, tmp_path: Path, patient: str, split: str
) -> None:
    folder = exported(prepared, "yolo", tmp_path / "yolo")
    lines = pd.read_csv(folder / "slices.csv")
    first = lines[lines["patient_id"] == "P000"].iloc[0]
    (picture,) = folder.glob(f"images/*/{first['image']}.png")
    shutil.copy(picture, picture.with_name("again.png"))
    again = first.to_dict() | {"image": "again", "patient_id": patient, "split": split}
    pd.concat([lines.assign(split="train"), pd.DataFrame([again])]).to_csv(folder / "slices.csv", index=False)
    with pytest.raises(
        SliceSetError, match=rf"'P000' \(train\) and 'again' of patient '{patient}' \({split}\) are the"
    ):
        imported("yolo", folder, tmp_path / "slices")
