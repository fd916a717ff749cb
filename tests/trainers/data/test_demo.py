"""The demo cohort: what it writes, that it is reproducible, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import ndimage

from trainers.data.cohort import open_cohort
from trainers.data.demo import DemoCohortConfig, heads, make_demo_cohort
from trainers.data.demo.lesions import draw_count
from trainers.data.demo.patient import Patient, make_patient, rough_boxes, split_of
from trainers.exceptions import CohortError

SMALL = DemoCohortConfig(patients=3, normals=1, seed=7)


class Heard:
    """Collects progress reports."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int, _: object) -> None:
        self.reports.append((done, total))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "cohort"
    make_demo_cohort(out, SMALL, Heard(), workers=2)
    return out


@pytest.fixture(scope="module")
def patient() -> Patient:
    return make_patient("tumour", 2, SMALL)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def voxels(file: Path) -> np.ndarray:
    image = nib.load(file)  # type: ignore[attr-defined]
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")  # type: ignore[attr-defined]
    return np.asarray(image.dataobj)  # type: ignore[attr-defined]


def test_manifest_opens_as_cohort_with_every_split(cohort: Path) -> None:
    opened = open_cohort(cohort)
    assert [(s.patient_id, s.kind, s.split) for s in opened.subjects] == [
        ("P001", "tumour", "train"),
        ("P002", "tumour", "validation"),
        ("P003", "tumour", "test"),
        ("N001", "normal", "train"),
    ]
    assert opened.origin["base_heads"]["train"] not in (
        opened.origin["base_heads"]["validation"],
        opened.origin["base_heads"]["test"],
    )
    assert all("T " in s.scanner for s in opened.subjects)
    assert not list(cohort.rglob(".*"))


def test_volumes_have_the_papers_matrices_and_a_head_around_the_brain(cohort: Path) -> None:
    for name in ("P001", "P002", "P003", "N001"):
        volume = voxels(cohort / name / "t1c.nii.gz")
        assert volume.dtype == np.int16
        assert volume.shape[:2] in {(190, 224), (216, 256), (256, 256), (460, 460)}
        assert 28 <= volume.shape[2] <= 50
        middle = volume[:, :, volume.shape[2] // 2]
        widths = ndimage.find_objects((middle > 0.3 * np.percentile(middle, 90)).astype(np.uint8))[0]
        assert all(s.stop - s.start > 0.5 * n for s, n in zip(widths, (190, 190), strict=True))


def test_boxes_hold_their_lesions_and_lie_in_the_volume(cohort: Path) -> None:
    for name in ("P001", "P002", "P003"):
        labels = voxels(cohort / name / "lesions.nii.gz")
        assert labels.shape == voxels(cohort / name / "t1c.nii.gz").shape
        assert labels.max() >= 1
        assert list(np.unique(labels)) == list(range(labels.max() + 1))
        covered = np.zeros(labels.shape, dtype=bool)
        table = pd.read_csv(cohort / name / "boxes.csv")
        assert list(table.columns) == ["z", "x0", "y0", "x1", "y1"]
        for z, x0, y0, x1, y1 in table.to_numpy():
            assert 0 <= x0 < x1 <= labels.shape[0]
            assert 0 <= y0 < y1 <= labels.shape[1]
            assert (labels[x0:x1, y0:y1, z] > 0).any()
            covered[x0:x1, y0:y1, z] = True
        assert covered[labels > 0].all()


def test_rough_box_is_wider_than_its_part_by_one_voxel_to_a_sixth_on_each_side() -> None:
    labels = np.zeros((60, 60, 3), dtype=np.uint8)
    labels[20:40, 10:30, 1] = 1
    labels[0:4, 50:60, 1] = 2
    z, x0, y0, x1, y1 = rough_boxes(labels, np.random.default_rng(0)).T
    assert list(z) == [1, 1]
    assert 16 <= x0[0] <= 19
    assert 41 <= x1[0] <= 44
    assert 6 <= y0[0] <= 9
    assert 31 <= y1[0] <= 34
    assert (x0[1], y1[1]) == (0, 60)


def test_lesions_lie_in_the_brain_and_outshine_their_surroundings(patient: Patient) -> None:
    assert patient.lesions >= 1
    assert patient.brain[patient.labels > 0].mean() > 0.97
    brighter = []
    for number in range(1, patient.lesions + 1):
        lesion = patient.labels == number
        plane = int(lesion.sum(axis=(0, 1)).argmax())
        inside = lesion[:, :, plane]
        distance = np.asarray(ndimage.distance_transform_edt(~inside))
        around = (distance > 2) & (distance < 7) & patient.brain[:, :, plane]
        shown = patient.volume[:, :, plane]
        brighter.append(np.percentile(shown[inside], 80) / np.median(shown[around]))
    assert np.median(brighter) > 1.25


def test_vessels_are_as_bright_as_lesions_in_normal_subjects() -> None:
    normal = make_patient("normal", 1, SMALL)
    assert (normal.lesions, len(normal.boxes)) == (0, 0)
    inside = np.asarray(ndimage.binary_erosion(normal.brain, iterations=3), dtype=bool)
    white = np.percentile(normal.volume[inside], 75)
    assert 0.0005 < (normal.volume[inside] > 1.5 * white).mean() < 0.02


def test_another_seed_gives_another_patient(patient: Patient) -> None:
    other = make_patient("tumour", 2, DemoCohortConfig(patients=3, normals=0, seed=8))
    assert other.volume.shape != patient.volume.shape or (other.volume != patient.volume).mean() > 0.5


def test_killed_run_continues_and_a_larger_cohort_begins_with_the_smaller_one(cohort: Path, tmp_path: Path) -> None:
    out, larger = tmp_path / "cohort", DemoCohortConfig(patients=4, normals=0, seed=7)

    def kill(done: int, _: int, __: object) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo_cohort(out, larger, kill)
    assert not (out / "cohort.json").exists()
    (out / "P002").mkdir()
    (out / "P002" / ".writing-t1c.nii.gz").write_bytes(b"half")
    kept = (out / "P001" / "t1c.nii.gz").stat().st_mtime_ns
    heard = Heard()
    make_demo_cohort(out, larger, heard)
    assert heard.reports == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (out / "P001" / "t1c.nii.gz").stat().st_mtime_ns == kept
    assert [s.patient_id for s in open_cohort(out).subjects] == ["P001", "P002", "P003", "P004"]
    for name in ("P001", "P002", "P003"):  # made here in this process, there by workers
        assert digests(out / name) == digests(cohort / name)


def test_complete_cohort_is_left_alone(cohort: Path) -> None:
    before, heard = digests(cohort), Heard()
    make_demo_cohort(cohort, SMALL, heard)
    assert heard.reports == [(4, 4)]
    assert digests(cohort) == before


def test_cohort_of_other_settings_is_refused(cohort: Path) -> None:
    with pytest.raises(CohortError, match=r"patients 3 \(asked for: 5\), seed 7 \(asked for: 1\)"):
        make_demo_cohort(cohort, DemoCohortConfig(patients=5, normals=1, seed=1), Heard())


def test_foreign_folder_file_and_manifest_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CohortError, match=r"thesis\.txt"):
        make_demo_cohort(tmp_path, SMALL, Heard())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(CohortError, match="cannot be written"):
        make_demo_cohort(tmp_path / "thesis.txt", SMALL, Heard())
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "cohort.json").write_text(json.dumps({"name": "clinic", "origin": {}, "subjects": []}))
    with pytest.raises(CohortError, match="does not belong to a demo cohort"):
        make_demo_cohort(foreign, SMALL, Heard())


@pytest.mark.parametrize("wrong", [{"patients": 2}, {"normals": -1}, {"seed": -1}, {"lesion_diameter_mm": 0}])
def test_config_refuses_impossible_numbers(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DemoCohortConfig(**wrong)  # type: ignore[arg-type]


def test_missing_package_is_named() -> None:
    with pytest.raises(CohortError, match="pip install no_such_package"):
        heads._find("no_such_package", "head.nii.gz")


def test_splits_are_70_10_20_percent_from_the_first_patients_on() -> None:
    splits = [split_of(number) for number in range(1, 181)]
    assert [splits.count(s) for s in ("train", "validation", "test")] == [126, 18, 36]
    assert set(splits[:3]) == {"train", "validation", "test"}


@pytest.mark.parametrize("seed", range(5))
def test_every_split_of_twenty_patients_gets_its_share_of_lesions(seed: int) -> None:
    counts = pd.Series([draw_count(6.0, number, seed) for number in range(1, 21)])
    splits = [split_of(number) for number in range(1, 21)]
    assert 5 <= counts.median() <= 7
    assert (counts.groupby(splits).mean() >= 3).all()
