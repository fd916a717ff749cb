"""`metsweep score` on files that any detector could have written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.sweep.cli.conftest import Metsweep
from tests.trainers.disc_slices import make_slice_set, tiny_config
from tests.trainers.evaluation.cases import random_case
from trainers.detector.model import build_model
from trainers.evaluation.coco import detections_json, truth_json

BOX = [1, 1, 9, 9]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Truth and detections of twelve patients."""
    truth, detections = random_case(np.random.default_rng(0))
    (tmp_path / "truth.json").write_text(json.dumps(truth_json(truth, 256)))
    (tmp_path / "detections.json").write_text(json.dumps(detections_json(detections)))
    return tmp_path / "truth.json", tmp_path / "detections.json"


def test_tables_show_every_figure(metsweep: Metsweep, files: tuple[Path, Path]) -> None:
    ended = metsweep("score", *files, "--iou", 0.5, "--iou", 0.25, "--confidence", 0.2)
    assert ended.code == 0, ended.err
    for part in (
        "72 slices", "12 patients", "IoU 0.5", "IoU 0.25", "FPs per slice", "sensitivity at 4 FPs per slice",
        "3D lesion sensitivity", "FPs per volume", "chance sensitivity", "calibration error", "5-10 mm", "scanner1",
    ):  # fmt: skip
        assert part in ended.out
    assert "Not told" not in ended.out


def test_json_is_all_that_is_printed(metsweep: Metsweep, files: tuple[Path, Path]) -> None:
    ended = metsweep("score", *files, "--json", "--iou", 0.4)
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert list(found) == ["iou40"]
    assert found["iou40"]["patients"] == 12
    assert found["iou40"]["at_fps_per_slice"]["2"]["sensitivity"] > 0
    higher = json.loads(metsweep("score", *files, "--json", "--iou", 0.4, "--confidence", 0.5).out)
    assert higher["iou40"]["false_positives"] < found["iou40"]["false_positives"]
    assert higher["iou40"]["at_fps_per_slice"] == found["iou40"]["at_fps_per_slice"], "the curve has all detections"


def test_what_the_files_do_not_tell_is_left_out_and_said(metsweep: Metsweep) -> None:
    images = [{"id": i, "width": 64, "height": 64} for i in range(3)]
    lesion = {"id": 1, "image_id": 0, "bbox": [1, 1, 9, 9]}
    Path("truth.json").write_text(json.dumps({"images": images, "annotations": [lesion]}))
    Path("found.json").write_text(json.dumps([{"image_id": 0, "bbox": [1, 1, 9, 9], "score": 12.5}]))
    ended = metsweep("score", "truth.json", "found.json")
    assert ended.code == 0, ended.err
    assert "The truth file has no lesion diameters" in ended.out
    assert "The truth file has no volume and z" in ended.out
    assert "With fewer than 10 patients with lesions the intervals are too narrow (here: 1)." in ended.out
    assert "calibration" not in ended.out
    Path("patients.csv").write_text("image,patient_id\n0,a\n1,a\n2,b\n")
    assert "2 patients" in metsweep("score", "truth.json", "found.json", "--patients", "patients.csv").out


def test_another_detector_is_compared_on_the_same_patients(
    metsweep: Metsweep, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    found = json.loads(files[1].read_text())
    Path("worse.json").write_text(json.dumps(found[::2]))
    ended = metsweep("score", *files, "--against", "worse.json", "--json")
    assert ended.code == 0, ended.err
    gain = json.loads(ended.out)["iou50"]["gain"]
    assert gain["difference"] > 0.1
    assert gain["p"] < 0.05
    assert gain["patients"] == 12
    ended = metsweep("score", *files, "--against", files[1])
    for line in ("gain over the other detector", "gain at equal FPs per slice"):
        assert re.search(rf"{line} +│ +\+0\.000 \[\+0\.000, \+0\.000\], p 1\.000", ended.out)


def test_detections_below_the_confidence_are_told(metsweep: Metsweep, files: tuple[Path, Path]) -> None:
    found = json.loads(files[1].read_text())
    below = sum(row["score"] < 0.3 for row in found)
    said = f"{below} of {len(found)} detections score below --confidence 0.3 and are not counted."
    options = (*files, "--confidence", 0.3)
    Path("few.json").write_text(json.dumps([{**found[0], "score": 0.1}, {**found[0], "score": 0.9}]))
    ended = metsweep("score", *options, "--against", "few.json")
    assert said in ended.out.splitlines()
    assert "1 of 2 detections of few.json score below --confidence 0.3 and are not counted." in ended.out.splitlines()
    assert "not counted" not in metsweep("score", *options, "--json").out
    assert "not counted" not in metsweep("score", *files, "--confidence", 0).out


def test_what_is_not_defined_is_null_in_json(metsweep: Metsweep, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = {"iou50": {"sensitivity": float("nan"), "intervals": {"sensitivity": [float("nan"), 1.0]}}}
    monkeypatch.setattr("trainers.evaluation.summary.summarise", lambda *_: summary)
    Path("truth.json").write_text(json.dumps({"images": [{"id": 0}], "annotations": [{"image_id": 0, "bbox": BOX}]}))
    Path("found.json").write_text("[]")
    ended = metsweep("score", "truth.json", "found.json", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == {"iou50": {"sensitivity": None, "intervals": {"sensitivity": [None, 1.0]}}}


def test_a_gain_without_a_known_variance_has_no_interval(metsweep: Metsweep) -> None:
    """Both patients with lesions gain the same, so how gains vary is not known."""
    images = [{"id": i, "patient_id": f"p{i}", "width": 64, "height": 64} for i in range(3)]
    lesions = [{"id": i + 1, "image_id": i, "bbox": BOX} for i in range(2)]
    Path("truth.json").write_text(json.dumps({"images": images, "annotations": lesions}))
    Path("found.json").write_text(json.dumps([{"image_id": i, "bbox": BOX, "score": 0.5} for i in range(2)]))
    Path("nothing.json").write_text("[]")
    options = ("score", "truth.json", "found.json", "--against", "nothing.json")
    ended = metsweep(*options, "--json")
    assert ended.code == 0, ended.err
    gain = json.loads(ended.out)["iou50"]["gain"]
    assert (gain["difference"], gain["interval"], gain["p"]) == (1.0, None, None)
    ended = metsweep(*options)
    assert ended.code == 0, ended.err
    assert "+1.000" in ended.out
    assert "nan" not in ended.out


def test_pictures_are_written(metsweep: Metsweep, files: tuple[Path, Path]) -> None:
    assert metsweep("score", *files, "--out", "scored").code == 0
    assert {path.name for path in Path("scored").iterdir()} == {
        "metrics.json", "froc.png", "confidence.png", "calibration.png", "missed_by_diameter.png",
    }  # fmt: skip
    ended = metsweep("score", *files, "--out", "scored")
    assert ended.code == 2
    assert "not empty" in ended.err


def test_a_studys_own_evaluation_scores_the_same(metsweep: Metsweep) -> None:
    """What `evaluate` writes for other tools says what `evaluate` itself says."""
    make_slice_set(Path("slices"), {"train": 1, "validation": 4, "test": 5})
    config = tiny_config(initial_confidence=0.5, nms_iou=0.9)
    Path("detector").mkdir()
    Path("detector/config.json").write_text(config.model_dump_json())
    torch.save(build_model(config).state_dict(), "detector/model.pt")
    settings = ("--set", "evaluation.confidence=0.4", "--set", "evaluation.froc_confidence=0.3")
    assert metsweep("evaluate", "detector", "slices", "--out", "evaluation", *settings).code == 0
    coco = Path("evaluation/coco")
    ended = metsweep("score", coco / "test.truth.json", coco / "test.detections.json", "--json", "--confidence", 0.4)
    own, scored = json.loads(Path("evaluation/metrics.json").read_text())["test"], json.loads(ended.out)
    assert scored["iou50"]["false_positives"] > 0
    for iou in ("iou50", "iou25"):
        for name in ("sensitivity", "fps_per_slice", "intervals", "at_fps_per_slice", "chance", "calibration"):
            assert scored[iou][name] == own[iou][name], (iou, name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--iou", 0), "ious"),
        (("--iou", 1.5), "ious"),
        (("--confidence", -1), "confidence"),
        (("--patients", "nothing.csv"), "nothing.csv cannot be read"),
    ],
)
def test_bad_options_are_refused(
    metsweep: Metsweep, files: tuple[Path, Path], options: tuple[object, ...], message: str
) -> None:
    ended = metsweep("score", *files, *options)
    assert ended.code == 2
    assert ended.out == ""
    assert message in ended.err
    assert ended.err.startswith("error: ")


def test_a_detection_on_an_unknown_image_is_refused(metsweep: Metsweep, files: tuple[Path, Path]) -> None:
    Path("foreign.json").write_text(json.dumps([{"image_id": 999, "bbox": [0, 0, 1, 1], "score": 0.5}]))
    ended = metsweep("score", files[0], "foreign.json")
    assert ended.code == 2
    assert "image_id 999, which the truth does not have" in ended.err
