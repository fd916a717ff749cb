"""Names, paths and errors from outside are shown as they are; what would steer a terminal is escaped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweep.text import visible
from tests.sweep.cli.conftest import Metsweep
from tests.trainers.data.phantom import make_cohort, read_manifest, write_manifest

HOSTILE = ["[/b]", "[red]x", "Prisma [siemens]", "\x1b[2J"]


@pytest.mark.parametrize("name", HOSTILE)
def test_cohort_names_and_patients(metsweep: Metsweep, name: str) -> None:
    folder = make_cohort(Path("cohort"))
    subjects = read_manifest(folder)
    write_manifest(folder, [{**one, "scanner": name} for one in subjects], name=name)
    ended = metsweep("cohort", "check", folder)
    assert "\x1b" not in ended.out + ended.err
    if name == "\x1b[2J":
        assert ended.code == 2, "no control characters in names"
        return
    assert ended.code == 0, ended.err
    assert f"Cohort {name}" in ended.out
    broken = [{**one, "patient_id": name, "volume": f"{name}.nii.gz"} for one in subjects]
    write_manifest(folder, broken[:1] + subjects[1:])
    refused = metsweep("cohort", "check", folder)
    assert refused.code == 2
    assert visible(name) in refused.err
    assert "\x1b" not in refused.err


def test_scanners_and_patients_that_are_scored(metsweep: Metsweep) -> None:
    images = [{"id": i, "width": 64, "height": 64} for i in range(4)]
    lesions = [{"id": i, "image_id": i, "bbox": [1, 1, 9, 9]} for i in range(4)]
    Path("truth.json").write_text(json.dumps({"images": images, "annotations": lesions}))
    Path("found.json").write_text(json.dumps([{"image_id": 0, "bbox": [1, 1, 9, 9], "score": 0.5}]))
    rows = [f"{i},{name},{name}" for i, name in enumerate(["[/b]", "[red]x", "Prisma [siemens]", "[b]"])]
    Path("patients.csv").write_text("\n".join(["image,patient_id,scanner", *rows, ""]))
    ended = metsweep("score", "truth.json", "found.json", "--patients", "patients.csv")
    assert ended.code == 0, ended.err
    for name in ("[/b], 1 lesion", "[red]x, 1 lesion", "Prisma [siemens], 1 lesion"):
        assert name in ended.out


@pytest.mark.parametrize("name", [*HOSTILE, "no utf-8 \udcff"])
def test_stores_paths_and_options(metsweep: Metsweep, name: str) -> None:
    Path(name).mkdir(parents=True)
    listed = metsweep("store", "ls", "--store", name)
    if name.isprintable():
        assert listed.code == 0, listed.err
        assert visible(name) in listed.out
    else:  # as METSWEEP_STORE is
        assert (listed.code, len(listed.err.splitlines())) == (2, 1)
        assert "--store" in listed.err
    for arguments in (("plan", name), ("cohort", "check", name), ("score", name, name), (name,)):
        refused = metsweep(*arguments)
        assert refused.code == 2, arguments
        assert visible(name) in refused.err, arguments
        assert "\x1b" not in refused.err + listed.out
