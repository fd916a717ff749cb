"""Cohorts of cohorts: merged without sharing patients, and split alike in lesions, sizes and scanners."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.data import public_sets as sets
from tests.trainers.data.phantom import make_cohort, read_manifest, write_manifest
from trainers.data import stratified
from trainers.data.cohort import Cohort, Subject, open_cohort
from trainers.data.importing import import_cohort
from trainers.data.layouts.contract import Tree
from trainers.data.layouts.known import layout_of
from trainers.data.merging import merge_cohorts, moved
from trainers.data.stratified import Profile, as_given, by_shares, in_folds, read_profiles
from trainers.exceptions import CohortError


def imported(source: Path, out: Path) -> Cohort:
    out.mkdir()
    tree = Tree.of(source)
    import_cohort(layout_of("auto", tree), tree, out, out, lambda *_: None)
    return open_cohort(out)


def written(cohort: Cohort) -> Cohort:
    cohort.folder.mkdir(parents=True)
    cohort.write(cohort.folder)
    return open_cohort(cohort.folder)


def test_merged_cohorts_keep_their_files_and_record_their_origin(tmp_path: Path) -> None:
    patients = imported(sets.brats(tmp_path / "download"), tmp_path / "brats")
    normals = imported(sets.ixi(tmp_path / "download"), tmp_path / "ixi")
    merged = written(merge_cohorts([patients, normals], tmp_path / "elsewhere" / "merged"))
    assert merged.subjects[0].volume.startswith("../../download/ASNR")
    assert [s.patient_id for s in merged.subjects] == [s.patient_id for s in (*patients.subjects, *normals.subjects)]
    assert [part["origin"]["layout"] for part in merged.origin["merged"]] == ["brats-mets", "ixi"]
    for before, after in zip((*patients.subjects, *normals.subjects), merged.subjects, strict=True):
        assert (merged.folder / after.volume).resolve() == (patients.folder / before.volume).resolve()
    merged.fingerprint()


def test_a_patient_in_two_sets_is_refused(tmp_path: Path) -> None:
    """BraTS-METS holds scans of Pretreat-MetsToBrain-Masks under the same names."""
    brats = imported(sets.brats(tmp_path / "a"), tmp_path / "brats")
    yale = imported(sets.pretreat(tmp_path / "b", first=3), tmp_path / "yale")
    with pytest.raises(CohortError, match=r"brats and .*yale share patients \(1\): 'BraTS-MET-00003'.*use one of both"):
        merge_cohorts([brats, yale], tmp_path / "merged")


def test_a_renamed_scan_of_another_set_is_refused_by_its_voxels(tmp_path: Path) -> None:
    first = make_cohort(tmp_path / "first")
    shutil.copytree(first, tmp_path / "second")
    subjects = [{**subject, "patient_id": f"other-{subject['patient_id']}"} for subject in read_manifest(first)]
    write_manifest(tmp_path / "second", subjects)
    merged = written(merge_cohorts([open_cohort(first), open_cohort(tmp_path / "second")], tmp_path / "merged"))
    with pytest.raises(CohortError, match=r"'other-P000': volume .* has the same content as volume .*'P000'"):
        merged.fingerprint()


def test_absolute_paths_stay(tmp_path: Path) -> None:
    cohort = open_cohort(make_cohort(tmp_path / "a", volume=str(tmp_path / "a" / "P000" / "t1c.nii.gz")))
    assert moved(cohort, tmp_path / "b" / "c").subjects[0].volume == cohort.subjects[0].volume


SCANNERS = ("Guys", "HH", "UCSD")


def cohort_of(patients: int) -> tuple[Cohort, dict[str, Profile]]:
    generator = np.random.default_rng(0)
    profiles = {
        f"P{i:03d}": Profile(int(generator.integers(1, 30)), float(generator.lognormal(1.6, 0.6)), SCANNERS[i % 3])
        for i in range(patients)
    }
    subjects = [Subject(patient_id=name, kind="tumour", volume=name, boxes="b") for name in profiles]
    subjects.append(Subject(patient_id="N", kind="normal", volume="n"))
    return Cohort(Path("many"), "many", {}, tuple(subjects)), profiles


def patients_of(cohort: Cohort, split: str) -> list[str]:
    return [s.patient_id for s in cohort.subjects if s.split == split and s.kind == "tumour"]


def difference(cohort: Cohort, profiles: dict[str, Profile], seed: int) -> np.ndarray:
    """How far the test split is from all patients: mean logarithms of lesion count and size, share of each scanner."""
    divided = patients_of(by_shares(cohort, profiles, (70, 10, 20), seed), "test")
    rows = {
        name: [np.log(p.lesions), np.log(p.diameter_mm), *(p.scanner == scanner for scanner in SCANNERS)]
        for name, p in profiles.items()
    }
    everyone = np.array(list(rows.values()))
    return np.abs(np.mean([rows[name] for name in divided], axis=0) - everyone.mean(axis=0)) / everyone.std(axis=0)


def test_shares_are_the_papers_and_alike_in_lesions_sizes_and_scanners(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, profiles = cohort_of(180)
    divided = by_shares(cohort, profiles, (70, 10, 20), seed=1)
    counts = {split: len(patients_of(divided, split)) for split in ("train", "validation", "test")}
    assert counts == {"train": 126, "validation": 18, "test": 36}
    assert divided.subjects[-1].split == "train"
    assert by_shares(cohort, profiles, (70, 10, 20), seed=1) == divided
    assert by_shares(cohort, profiles, (70, 10, 20), seed=2) != divided
    even = np.mean([difference(cohort, profiles, seed) for seed in range(3)], axis=0)
    monkeypatch.setattr(stratified, "DRAWS", 1)
    random = np.mean([difference(cohort, profiles, seed) for seed in range(40)], axis=0)
    assert (even < random / 2).all(), "each of the five alike"


def test_every_patient_is_in_the_test_split_of_one_fold() -> None:
    cohort, profiles = cohort_of(23)
    folds = in_folds(cohort, profiles, 5, seed=0)
    tested = [patient for fold in folds for patient in patients_of(fold, "test")]
    assert sorted(tested) == sorted(profiles)
    for number, fold in enumerate(folds):
        assert patients_of(fold, "validation") == patients_of(folds[(number + 1) % 5], "test")
        assert len(patients_of(fold, "test")) in (4, 5)
    with pytest.raises(CohortError, match="2 folds; allowed: 3 to the 23 tumour patients"):
        in_folds(cohort, profiles, 2, seed=0)


def test_splits_are_taken_from_a_table(tmp_path: Path) -> None:
    cohort, profiles = cohort_of(4)
    table = tmp_path / "splits.csv"
    lines = ["patient_id,split", "P000,test", "P001,validation", "P002,train", "P003,train"]
    table.write_text("\n".join(lines))
    assert patients_of(as_given(cohort, table), "train") == ["P002", "P003"]
    for wrong, message in {
        "P000,train": "line 6: patient 'P000', split 'train'; allowed: each patient of many once",
        "P009,train": "line 6: patient 'P009'",
        "N,test": "line 6: patient 'N', split 'test'; allowed: each patient of many once, and train for this one",
    }.items():
        table.write_text("\n".join([*lines, wrong]))
        with pytest.raises(CohortError, match=message):
            as_given(cohort, table)
    table.write_text("\n".join(lines[:-1]))
    with pytest.raises(CohortError, match="lacks 1 patients of many, 'P003' first"):
        as_given(cohort, table)
    with pytest.raises(CohortError, match="three whole numbers from 1 that add up to 100"):
        by_shares(cohort, profiles, (70, 20, 20), seed=0)


def test_profiles_count_the_lesions_of_all_volumes(tmp_path: Path) -> None:
    profiles = read_profiles(imported(sets.ucsf(tmp_path / "download"), tmp_path / "ucsf"), lambda *_: None)
    assert profiles == {"100101": Profile(4, 12.0, "UCSF"), "100102": Profile(2, 12.0, "UCSF")}
