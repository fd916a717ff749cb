"""Of a cohort only what is new is prepared; broken volumes are refused together, or left out and named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.data.phantom import SHAPE, make_cohort, read_manifest, save, stripped_brain, write_manifest
from trainers.data.cohort import open_cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import Outcomes, PrepareConfig, VolumeTask, prepare_here
from trainers.data.slice_set import SliceSet, open_slice_set, write_slice_set
from trainers.data.stratified import Fold
from trainers.data.volume_tasks import check_cohort, content_of
from trainers.exceptions import CohortError

CONFIG = PrepareConfig(size=32)
DROP = PrepareConfig(size=32, on_error="drop")
FILES = ("images.npy", "slices.parquet", "boxes.parquet", "meta.json")


class Prepared:
    """Prepares cohorts with one cache, and records of which volumes slices were made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[str] = []

    def __call__(self, folder: Path, out: str, config: PrepareConfig = CONFIG) -> SliceSet:
        def run(tasks: Sequence[VolumeTask], config: PrepareConfig) -> Outcomes:
            self.made = [task.stem for task in tasks]
            yield from prepare_here(tasks, config)

        cache = CohortCache(self.root / "cache")
        prepare(open_cohort(folder), config, self.root / out, lambda *_: None, run, cache)
        return open_slice_set(self.root / out)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return Prepared(tmp_path)


def same_files(first: Path, second: Path) -> bool:
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in FILES)


def test_one_patient_more_costs_one_patient(tmp_path: Path, prepared: Prepared) -> None:
    folder = make_cohort(tmp_path / "cohort", mask=True)
    prepared(folder, "first")
    assert prepared.made == ["P000", "P001", "P002", "P003"]
    prepared(folder, "again")
    assert prepared.made == []
    assert same_files(tmp_path / "first", tmp_path / "again")

    for number in (1, 2, 3):
        fold = prepared(folder, f"fold{number}", CONFIG.model_copy(update={"fold": Fold(number=number, of=3)}))
        assert prepared.made == [], "a fold costs no second preparation"
        assert (fold.slices["split"] == "test").any()

    subjects = read_manifest(folder)
    save(folder / "N004" / "t1c.nii.gz", stripped_brain(9, lesion=False))
    new = {**subjects[3], "patient_id": "N004", "volume": "N004/t1c.nii.gz", "split": "train"}
    write_manifest(folder, [new, *subjects])
    grown = prepared(folder, "grown")
    assert prepared.made == ["N004"]
    assert grown.slices["patient_id"].unique().tolist() == ["N004", "P000", "P001", "P002", "P003"]
    prepare(open_cohort(folder), CONFIG, tmp_path / "afresh", lambda *_: None)
    assert same_files(tmp_path / "grown", tmp_path / "afresh")


def test_what_decides_a_result_makes_it_anew(tmp_path: Path, prepared: Prepared) -> None:
    folder = make_cohort(tmp_path / "cohort", mask=True)
    prepared(folder, "first")
    prepared(folder, "margin", PrepareConfig(size=32, margin=0.1))
    assert len(prepared.made) == 4
    lesion = np.zeros(SHAPE, dtype=np.uint8)
    lesion[20:22, 30:33, 19] = 1
    save(folder / "P001" / "mask.nii.gz", lesion)
    assert (prepared(folder, "mask").slices["patient_id"] == "P001").sum() == 1
    assert prepared.made == ["P001"]
    subjects = read_manifest(folder)
    subjects[3]["scanner"] = "another"
    write_manifest(folder, subjects)
    assert "another" in set(prepared(folder, "scanner").slices["scanner"])
    assert prepared.made == []


def test_a_damaged_result_is_made_again(tmp_path: Path, prepared: Prepared) -> None:
    folder = make_cohort(tmp_path / "cohort")
    prepared(folder, "first")
    for file in (tmp_path / "cache" / "volumes").iterdir():
        file.write_bytes(file.read_bytes()[:-1000])
    prepared(folder, "again")
    assert len(prepared.made) == 4
    assert same_files(tmp_path / "first", tmp_path / "again")


def test_images_that_are_streamed_make_the_same_file(tmp_path: Path, prepared: Prepared) -> None:
    streamed = prepared(make_cohort(tmp_path / "cohort"), "slices")
    write_slice_set(tmp_path / "whole", np.array(streamed.images), streamed.slices, streamed.boxes, streamed.meta)
    assert same_files(tmp_path / "slices", tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "slices").iterdir()) == sorted(FILES)


def broken_cohort(folder: Path) -> Path:
    """Seven tumour patients: P001 cannot be read, P002 holds nothing, P003 has no lesion."""
    make_cohort(folder, patients=7, mask=True)
    (folder / "P001" / "t1c.nii.gz").write_bytes(b"no volume")
    save(folder / "P002" / "t1c.nii.gz", np.full(SHAPE, 5.0))
    save(folder / "P003" / "mask.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    return folder


def test_broken_volumes_are_refused_together(tmp_path: Path, prepared: Prepared) -> None:
    folder = broken_cohort(tmp_path / "cohort")
    save(folder / "P000" / "t1c.nii.gz", np.full(SHAPE, 7.0))
    (folder / "P004" / "mask.nii.gz").write_bytes(b"no mask")
    with pytest.raises(CohortError, match=r"'P001': .*cannot be read as a volume[^\n]*\n[^\n]*'P004'"):
        check_cohort(open_cohort(folder), CONFIG)
    for patient in ("P001", "P003", "P004"):
        write_manifest(folder, [subject for subject in read_manifest(folder) if subject["patient_id"] != patient])
    with pytest.raises(CohortError, match=r"'P000': .* voxels are 7.*\n.*'P002': .* voxels are 5.*\n.*\"drop\"") as no:
        prepared(folder, "slices")
    assert len(str(no.value).splitlines()) == 3
    assert not (tmp_path / "slices").exists()


def test_broken_volumes_are_left_out_and_named(tmp_path: Path, prepared: Prepared) -> None:
    folder = broken_cohort(tmp_path / "cohort")
    subjects = read_manifest(folder)
    subjects[2]["split"] = "train"  # the other splits have one patient each
    write_manifest(folder, subjects)
    slices = prepared(folder, "slices", DROP)
    assert slices.slices["patient_id"].unique().tolist() == ["P000", "P004", "P005", "P006", "P007"]
    reasons = {entry["patient_id"]: entry["reason"] for entry in slices.meta["dropped"]}
    assert reasons.keys() == {"P001", "P002", "P003"}
    assert reasons["P002"].startswith("patient 'P002': P002/t1c.nii.gz: all voxels are 5")
    assert str(tmp_path) not in "".join(reasons.values())
    before = content_of(open_cohort(folder), DROP)
    (folder / "P001" / "t1c.nii.gz").write_bytes(b"another")
    assert content_of(open_cohort(folder), DROP) != before


def test_a_split_that_loses_all_its_patients_is_refused(tmp_path: Path, prepared: Prepared) -> None:
    folder = make_cohort(tmp_path / "cohort", patients=3)
    subjects = read_manifest(folder)
    for subject, split in zip(subjects, ("train", "validation", "test"), strict=False):
        subject["split"] = split
    write_manifest(folder, subjects)
    save(folder / "P001" / "t1c.nii.gz", np.full(SHAPE, 7.0))
    with pytest.raises(CohortError, match="no tumour subject is in the validation split"):
        prepared(folder, "slices", DROP)


def test_a_damaged_file_that_is_left_out_moves_nobody_to_another_split(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", patients=10)
    whole = {subject.patient_id: subject.split for subject in check_cohort(open_cohort(folder), DROP).subjects}
    left_out = next(patient for patient, split in whole.items() if split == "test")
    volume = folder / left_out / "t1c.nii.gz"
    volume.write_bytes(volume.read_bytes()[:20_000])
    rest = {subject.patient_id: subject.split for subject in check_cohort(open_cohort(folder), DROP).subjects}
    assert rest == {patient: split for patient, split in whole.items() if patient != left_out}


def test_the_default_on_error_is_in_no_key() -> None:
    assert "on_error" not in PrepareConfig().model_dump_json()
    assert '"on_error":"drop"' in DROP.model_dump_json()


def test_fewer_training_patients_are_the_first_of_more_and_cost_nothing_once_all_are_prepared(
    tmp_path: Path, prepared: Prepared
) -> None:
    folder = make_cohort(tmp_path / "cohort", patients=7, mask=True)
    subjects = read_manifest(folder)
    splits = ["validation", "test", *["train"] * 5]
    tumour = [{**subject, "split": split} for subject, split in zip(subjects, splits, strict=False)]
    write_manifest(folder, [*tumour, *subjects[7:]])

    def patients(slices: SliceSet, split: str) -> set[str]:
        tumour = slices.slices["subject_kind"] == "tumour"
        return set(slices.slices.loc[(slices.slices["split"] == split) & tumour, "patient_id"])

    whole = prepared(folder, "all")
    used = [prepared(folder, f"{number}", CONFIG.model_copy(update={"train_patients": number})) for number in (2, 3, 5)]
    assert prepared.made == []
    assert [len(patients(slices, "train")) for slices in used] == [2, 3, 5]
    assert patients(used[0], "train") < patients(used[1], "train") < patients(used[2], "train")
    for slices in used:
        for split in ("validation", "test"):
            assert patients(slices, split) == patients(whole, split)
        assert (slices.slices["subject_kind"] == "normal").any()
    with pytest.raises(CohortError, match=r"5 tumour patients are in the training split.*is 6; allowed: up to 5"):
        prepared(folder, "too many", CONFIG.model_copy(update={"train_patients": 6}))
