"""What a GAN learnt from is noticed when its slices are judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trainers.gan.tiny_runs import make_slices
from trainers.data.slice_set import SliceSet, open_slice_set, write_slice_set
from trainers.exceptions import TrainingError
from trainers.gan.source import META_KEY, check_judges, check_slices, read_source, write_source


def detector(folder: Path, weights: bytes) -> Path:
    folder.mkdir()
    (folder / "model.pt").write_bytes(weights)
    return folder


def drawn_by(gan: Path, folder: Path) -> SliceSet:
    source = read_source(gan)
    made = make_slices(folder, tumour=2, normal=0)
    meta = {META_KEY: source and source.model_dump()}
    write_slice_set(folder, made.images, made.slices, made.boxes, meta)
    return open_slice_set(folder)


def test_a_copy_is_the_same_slice_set_and_any_change_another(tmp_path: Path) -> None:
    one, copy = make_slices(tmp_path / "one"), make_slices(tmp_path / "copy")
    assert one.fingerprint == copy.fingerprint
    boxes = one.boxes.assign(x1=one.boxes["x1"] + 1)
    patients = one.slices.assign(patient_id=one.slices["patient_id"] + "x")
    for images, slices, corners in (
        (one.images ^ 1, one.slices, one.boxes),
        (one.images, patients, one.boxes),
        (one.images, one.slices, boxes),
    ):
        assert SliceSet(one.path, images, slices, corners, {}).fingerprint != one.fingerprint


def test_its_teacher_and_other_patients_are_no_judges(tmp_path: Path) -> None:
    slices = make_slices(tmp_path / "slices")
    other = make_slices(tmp_path / "other", tumour=23)
    teacher, stranger = detector(tmp_path / "teacher", b"a"), detector(tmp_path / "stranger", b"b")
    write_source(tmp_path, slices, teacher)
    drawn = drawn_by(tmp_path, tmp_path / "drawn")
    check_judges(drawn, slices, stranger)
    with pytest.raises(TrainingError, match=r"teacher is the detector that taught the GAN of .*drawn"):
        check_judges(drawn, slices, teacher)
    with pytest.raises(TrainingError, match=r"other .* is not the slice set that the GAN of .*drawn"):
        check_judges(drawn, other, stranger)


def test_a_gan_that_does_not_tell_is_used_without_the_check(tmp_path: Path) -> None:
    teacher = detector(tmp_path / "teacher", b"a")
    assert read_source(tmp_path) is None
    drawn = drawn_by(tmp_path, tmp_path / "drawn")
    check_judges(drawn, make_slices(tmp_path / "other", tumour=23), teacher)


def test_malformed_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text(json.dumps({"slice": "x"}))
    with pytest.raises(TrainingError, match=r"source\.json is damaged: 'slices': "):
        read_source(tmp_path)


def test_a_gan_without_a_teacher(tmp_path: Path) -> None:
    slices = make_slices(tmp_path / "slices")
    write_source(tmp_path, slices, None)
    source = read_source(tmp_path)
    assert source is not None
    assert source.detector is None
    check_slices(source, tmp_path, slices)
