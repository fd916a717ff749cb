"""Of people, dates and header text that a clinic's files hold, nothing reaches slices, store, MLflow or reports."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nibabel.nifti1 import Nifti1Extension, Nifti1Image

from sweep.cli import main
from sweep.report.report import write_report
from sweep.store import Store
from sweep.tracking.tracker import Tracker
from tests.sweep.plans import make_plan
from tests.sweep.small_study import make, small_study, without_realism
from tests.trainers.data.tiny_cohort import AFFINE, boxes_of, tiny_brain
from trainers.data.cohort import open_cohort

PATIENTS = ("Mustermann_Maximilian", "Beispielhaft_Bertalinde", "Niemandsen_Noralotte")
BORN, TAKEN = "19470812", "20190317"
SALT = b"a key that lies elsewhere"
PLANTED = (
    *(part for name in PATIENTS for part in name.split("_")),
    BORN, "1947-08-12", TAKEN, "2019-03-17", "Klinikum", "Allwissend", "export of", SALT.decode(), SALT.hex(),
)  # fmt: skip


def personal_volume(file: Path, voxels: np.ndarray, name: str) -> None:
    """A NIfTI file with all the text that its header takes, and a sidecar as dcm2niix writes it."""
    image = Nifti1Image(voxels, AFFINE)
    for field, text in (("descrip", f"{name} {BORN} {TAKEN} Klinikum"), ("aux_file", name), ("intent_name", name[:15]),
                        ("db_name", name[:17])):  # fmt: skip
        image.header[field] = text.encode()
    image.header.extensions.append(Nifti1Extension("comment", f"Dr Allwissend: {name}, 1947-08-12".encode()))
    file.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(file)
    sidecar = {"PatientName": name, "PatientBirthDate": BORN, "AcquisitionDateTime": "2019-03-17T10:00:00"}
    file.with_name(file.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A table of three patients: masks, and boxes with a reader's name."""
    folder = tmp_path / "export of Klinikum"
    rows = []
    for number, name in enumerate(PATIENTS, start=1):
        files = {key: f"{name}_{BORN}/{TAKEN}_{key}_{name}.nii.gz" for key in ("volume", "mask")}
        volume, mask = tiny_brain(number), np.zeros(tiny_brain(0).shape, np.uint8)
        for z, x, y, _, _ in boxes_of(number):
            volume[x, y, z], mask[x, y, z] = 200, number
        personal_volume(folder / files["volume"], volume, name)
        personal_volume(folder / files["mask"], mask, name)
        if number == 1:
            files["boxes"] = f"{name}_{BORN}/boxes.csv"
            lines = [f"{','.join(map(str, box))},{name},Dr Allwissend" for box in boxes_of(number)]
            (folder / files["boxes"]).write_text("\n".join(["z,x0,y0,x1,y1,patient,reader", *lines]))
        rows.append({"patient_id": name, **files, "scanner": "3T", "stripped": "true"})
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    (tmp_path / "salt").write_bytes(SALT)
    return folder


def texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """What the files of a folder hold, names of files and what is packed included."""
    for file in sorted(folder.rglob("*")):
        yield file, str(file.relative_to(folder))
        if not file.is_file():
            continue
        content = file.read_bytes()
        if file.suffix == ".gz":
            content += gzip.decompress(content)
        if file.suffix == ".parquet":
            content += pd.read_parquet(file).to_csv().encode()
        if file.suffix == ".html":
            content += b"".join(map(base64.b64decode, re.findall(rb"base64,([A-Za-z0-9+/=]+)", content)))
        yield file, content.decode("latin-1")


def personal(folder: Path) -> list[str]:
    """Where planted text was found."""
    return [f"{file}: {word}" for file, text in texts(folder) for word in PLANTED if word.lower() in text.lower()]


@pytest.mark.slow
def test_nothing_personal_leaves_an_import_with_a_salt(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.chdir(kept)
    monkeypatch.setenv("METSWEEP_CACHE", str(kept / "cache"))
    assert len(personal(export)) > 50
    assert main(["cohort", "import", "table", str(export / "scans.csv"), "cohort", "--salt-file", "../salt"]) == 0
    cohort = open_cohort(kept / "cohort")
    assert all(re.fullmatch(r"P[0-9a-f]{12}", subject.patient_id) for subject in cohort.subjects)
    assert main(["prepare", "cohort", "--out", "slices", "--size", "32", "--workers", "1"]) == 0
    assert main(["cohort", "report", "cohort", "--slices", "slices"]) == 0

    plan = without_realism(make_plan(small_study(cohort=str(kept / "cohort"), arms=[{"variant": "none"}])))
    store = Store(kept / "store")
    for stage in plan.stages.values():
        make(stage, store, discs=False)
    shutil.copy(empty_database, kept / "mlflow.db")
    tracker = Tracker(f"sqlite:///{kept / 'mlflow.db'}", plan, store, report=write_report)
    tracker.open()
    tracker.record()
    tracker.close()
    write_report(plan, store, kept / "report")
    assert (kept / "report" / "report.html").is_file()
    assert personal(kept) == []


def test_header_text_and_sidecars_stay_behind_without_a_salt(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patients and files are called as the clinic calls them; nothing else is known of them."""
    monkeypatch.chdir(tmp_path)
    assert main(["cohort", "import", "table", str(export / "scans.csv"), "cohort"]) == 0
    assert main(["prepare", "cohort", "--out", "slices", "--size", "32", "--workers", "1"]) == 0
    for file, text in texts(tmp_path / "slices"):
        assert not re.search("Allwissend|1947-08-12|2019-03-17", text), file


def test_the_same_salt_gives_the_same_names_and_files_without_text(export: Path, tmp_path: Path) -> None:
    names = []
    for out, salt in (("one", SALT), ("two", SALT), ("three", SALT[::-1])):
        (tmp_path / "salt").write_bytes(salt)
        arguments = [
            "cohort",
            "import",
            "table",
            export / "scans.csv",
            tmp_path / out,
            "--salt-file",
            tmp_path / "salt",
        ]
        assert main([str(argument) for argument in arguments]) == 0
        names.append([subject.patient_id for subject in open_cohort(tmp_path / out).subjects])
    assert names[0] == names[1]
    assert not set(names[0]) & set(names[2])
    assert (tmp_path / "one" / "cohort.json").read_text().count(names[0][0]) == 4, "the patient and three files"
    assert personal(tmp_path / "one") == []


@pytest.mark.parametrize("place", ["source", "out"])
def test_a_salt_beside_the_data_is_refused(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    out = tmp_path / "out"
    salt = (export if place == "source" else out) / "salt"
    salt.parent.mkdir(exist_ok=True)
    salt.write_bytes(SALT)
    assert main(["cohort", "import", "bids", str(export), str(out), "--salt-file", str(salt)]) == 2
    assert "allowed: elsewhere, as whoever has data and key" in capsys.readouterr().err
