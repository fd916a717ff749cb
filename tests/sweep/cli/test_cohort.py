"""Cohorts by hand: import, merge, split, check."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image

from tests.sweep.cli.conftest import Metsweep, row
from tests.trainers.data import dicom_trees as clinic
from tests.trainers.data import public_sets as sets
from tests.trainers.data.phantom import read_manifest, write_manifest
from tests.trainers.data.tiny_cohort import AFFINE, SHAPE, make_tiny_cohort


def test_a_download_becomes_a_cohort_that_can_be_checked(metsweep: Metsweep, tmp_path: Path) -> None:
    download = sets.brats(tmp_path, patients=5)
    sets.brats_case(download, "BraTS-MET-00400-000", 5)
    ended = metsweep("cohort", "import", "auto", download, "brats")
    assert ended.code == 0, ended.err
    assert ended.out == (
        "brats-mets: 5 volumes of 5 patients with 10 lesions and 0 normal subjects.\n"
        "Left out, no annotation: 1 scan, BraTS-MET-00400-000 first (all: brats/cohort.json, origin).\n"
        "Next: metsweep cohort check brats\n"
    )
    assert metsweep("cohort", "import", "ixi", sets.ixi(tmp_path), "ixi").out.endswith(
        "Next: metsweep cohort merge PATIENTS ixi --out MERGED\n"
    )
    assert metsweep("cohort", "merge", "brats", "ixi", "--out", "both").out.startswith("8 volumes of 8 subjects.\n")
    ended = metsweep("cohort", "split", "both", "--out", "split", "--shares", "60/20/20")
    assert ended.code == 0, ended.err
    assert row(ended.out.replace("  ", "│"), "train")[0] == "train"
    splits = {s["patient_id"]: s["split"] for s in json.loads(Path("split/cohort.json").read_text())["subjects"]}
    assert sorted(splits.values()) == ["test", *["train"] * 6, "validation"]
    checked = metsweep("cohort", "check", "split")
    assert checked.code == 0, checked.err
    assert metsweep("cohort", "split", "both", "--out", "folds", "--folds", "5").code == 0
    assert metsweep("cohort", "check", "folds/fold5").code == 0


def test_check_names_slices_on_which_boxes_contradict_their_mask(metsweep: Metsweep, tmp_path: Path) -> None:
    folder = make_tiny_cohort(tmp_path / "cohort", 3)
    assert "Note:" not in metsweep("cohort", "check", folder).out
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:4, 3:5, 4] = 1
    Nifti1Image(mask, AFFINE).to_filename(folder / "P001" / "mask.nii.gz")
    first, *others = read_manifest(folder)
    write_manifest(folder, [first | {"mask": "P001/mask.nii.gz"}, *others])
    (folder / "P001" / "boxes.csv").write_text("z,x0,y0,x1,y1\n4,7,7,9,9\n")
    checked = metsweep("cohort", "check", folder)
    assert checked.code == 0
    assert f"Note: patient 'P001': {folder}/P001/boxes.csv, which is used, contradicts" in checked.out
    assert "on slice 4 (boxes without lesion: 1, lesions without box: 1)." in checked.out


def test_bad_requests_are_refused_before_anything_is_written(metsweep: Metsweep, cohort: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("import", "auto", tmp_path / "nowhere", "out"), "There is no folder or file"),
        (("import", "brats", cohort, "out"), "error: The layout 'brats' is unknown; allowed: auto, or"),
        (("import", "brats-mets", cohort, "out"), "none of 0 scans can be used as brats-mets"),
        (("merge", cohort, cohort, "--out", "out"), "share patients (4): 'P000', 'P001', 'P002', 'P003'"),
        (("split", cohort, "--out", "out", "--shares", "70/10"), "allowed: three whole numbers"),
        (("split", cohort, "--out", "out", "--shares", "a/b/c"), "allowed: whole per cents"),
        (("split", cohort, "--out", "out", "--folds", "3", "--given", "x.csv"), "--folds and --given; allowed: one"),
        (("split", cohort, "--out", "out", "--folds", "3", "--shares", "60/20/20"), "--shares and --folds; allowed"),
    ):
        ended = metsweep("cohort", *arguments)
        assert ended.code == 2, arguments
        assert message in ended.err
        assert "Traceback" not in ended.err
    Path("out").mkdir()
    Path("out/file").touch()
    assert "error: OUT out is not empty" in metsweep("cohort", "import", "ixi", cohort, "out").err
    assert [path.name for path in Path.cwd().iterdir()] == ["out"]


def test_a_copy_under_another_patient_is_refused_by_check(metsweep: Metsweep, tmp_path: Path) -> None:
    download = sets.brats(tmp_path, patients=5)
    sets.write(download / "BraTS-MET-00003-000" / "BraTS-MET-00003-000-t1c.nii.gz", sets.brain(11)[:, :, ::-1] * 2)
    assert metsweep("cohort", "import", "auto", download, "brats").code == 0
    ended = metsweep("cohort", "check", "brats")
    assert ended.code == 2
    assert "00001-000-t1c.nii.gz' of patient 'BraTS-MET-00001' and " in ended.err
    assert "00003-000-t1c.nii.gz' of patient 'BraTS-MET-00003' (100% alike)" in ended.err


def test_dicom_without_masks_waits_for_them_in_a_table(metsweep: Metsweep, tmp_path: Path) -> None:
    for number in range(3):
        clinic.series(tmp_path / "export" / str(number), sets.brain(number + 1), patient=f"Muster {number}")
    (tmp_path / "salt").write_bytes(bytes(range(32)))
    ended = metsweep("cohort", "import", "auto", tmp_path / "export", "clinic", "--salt-file", tmp_path / "salt")
    assert ended.code == 0, ended.err
    assert "'t1_se_tra_KM', 63 slices: chosen: contrast agent in the header" in ended.out
    assert "3 volumes without a mask; add masks to clinic/unannotated.csv.\n" in ended.out
    assert ended.out.endswith("Next: metsweep cohort import table clinic/unannotated.csv ANNOTATED\n")
    table = Path("clinic/unannotated.csv")
    header, *volumes = table.read_text().splitlines()
    for number in range(3):
        sets.write(Path(f"clinic/{number}.nii.gz"), sets.labels(number, around=None), "LAS")
    table.write_text("\n".join([header, *(f"{volume}{number}.nii.gz" for number, volume in enumerate(volumes))]))
    ended = metsweep("cohort", "import", "table", table, "annotated")
    assert ended.code == 0, ended.err
    assert "3 volumes of 3 patients with 6 lesions" in ended.out
    assert metsweep("cohort", "check", "annotated").code == 0
    ended = metsweep("cohort", "import", "ixi", sets.ixi(tmp_path), "ixi", "--series", "1.2.3")
    assert ended.code == 2
    assert "--series is for the layout dicom; got ixi" in ended.err
