"""What was made before is still found and read: stage keys of the shipped studies, documents, realism, tags.

The files of `made_before` were written by the code of commit 271314c, before reasons, verdicts and gates became codes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image

from search_spaces.cell import Cell
from search_spaces.study import load_study
from sweep.plan import Plan
from sweep.registry.gates import memorisation_gate
from sweep.registry.records import records
from sweep.registry.versions import Reign
from sweep.report.gan_table import gan_section
from sweep.report.results import read_results
from sweep.store import Store
from sweep.studies.outcome import Outcome, StopReason
from sweep.studies.records import StudyRecord
from sweep.tracking.tags import REIGN, read_tag
from tests.sweep.judged_study import judged_plan
from tests.sweep.plans import make_plan
from tests.sweep.publishing import publishing
from tests.trainers.data.phantom import write_manifest
from trainers.evaluation.realism.report import read_realism

MADE_BEFORE = Path(__file__).parent / "made_before"
KEYS: dict[str, dict[str, str]] = json.loads((MADE_BEFORE / "stage_keys.json").read_text())
"""Study and fidelity -> stage name -> number of keys, and SHA-256 of the sorted keys."""
DRAWN = [
    (0, Cell("cpggan+detector", 8000, (("gan.augment", "diffaugment"), ("gan.detector_weight", 0.5)))),
    (1, Cell("cpggan", 4000, (("gan.augment", "none"),))),
]
"""Cells that a search of `beyond` has drawn."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients and a normal subject in files that are the same on every machine, uncompressed."""
    folder = tmp_path_factory.mktemp("cohort")
    subjects: list[dict[str, Any]] = []
    for number, kind in enumerate(("tumour", "tumour", "tumour", "normal")):
        name = f"P{number}"
        volume = np.full((24, 24, 12), 10 + number, dtype=np.uint8)
        Nifti1Image(volume, np.diag([6.0, 6.0, 8.0, 1.0])).to_filename(folder / f"{name}.nii")
        subject = {"patient_id": name, "kind": kind, "scanner": "S", "volume": f"{name}.nii", "stripped": True}
        if kind == "tumour":
            (folder / f"{name}.csv").write_text(f"z,x0,y0,x1,y1,patient\n6,8,8,12,12,{name}\n")
            subject["boxes"] = f"{name}.csv"
        subjects.append(subject)
    write_manifest(folder, subjects)
    return folder


@pytest.fixture
def record(tmp_path: Path) -> StudyRecord:
    """The documents of a study that was launched before."""
    shutil.copytree(MADE_BEFORE, tmp_path / "studies" / "quickstart")
    return StudyRecord(Store(tmp_path), "quickstart")


@pytest.fixture(scope="module")
def realism() -> dict[str, Any]:
    return json.loads((MADE_BEFORE / "realism.json").read_text())


def digests(plan: Plan) -> dict[str, str]:
    return {
        name: f"{len(keys)} {hashlib.sha256(' '.join(sorted(keys)).encode()).hexdigest()}"
        for name, keys in plan.keys.items()
    }


@pytest.mark.parametrize("study", KEYS)
def test_stage_keys_are_as_before(study: str, cohort: Path) -> None:
    name, fidelity = study.split()
    plan = make_plan(load_study(name, fidelity=fidelity, cohort=str(cohort)), DRAWN if name == "beyond" else ())
    assert digests(plan) == KEYS[study], (
        "These stage keys differ from those of the code before, so nothing in an existing store would be found. "
        "If a stage now makes something else, raise its version and record new digests in stage_keys.json."
    )


def test_outcomes_with_reasons_in_english(record: StudyRecord) -> None:
    stopped = [reason for reason in StopReason if reason != StopReason.CELL_ENDED]
    assert record.outcomes() == {
        "none seed 0": Outcome(state="failed", error="CohortError: No volume."),
        **{f"t{i} cpggan 4 seed 0": Outcome(state="stopped", reason=reason) for i, reason in enumerate(stopped)},
    }


def test_options_extension_needs_and_status(record: StudyRecord) -> None:
    assert str(record.options()) == (
        "--fidelity laptop --cohort /data/demo-cohort --set seeds=[0,1] --set detector.steps=900"
    )
    assert record.options().optuna == "sqlite:////data/optuna.db"
    assert record.extension() == {"seeds": [0, 1, 2], "arms": [("cpggan", [4000])]}
    assert {name: len(keys) for name, keys in record.needs().items()} == {
        "prepare": 1, "gan": 2, "synthesize": 2, "detector": 5, "evaluate": 5, "realism": 2
    }  # fmt: skip
    status = record.status()
    assert status is not None
    assert (status.host, status.pid, status.running) == ("ws1", 2795, ("none seed 0",))
    stage, elsewhere, anew = status.stages.values()
    assert (elsewhere.maker(), anew.state) == ("ws2, process 77 (last update 0 s ago)", "damaged")
    assert (stage.label, stage.state, stage.done, stage.total) == ("detector none seed 0", "running", 135, 300)


def test_realism_in_the_report(realism: dict[str, Any], tmp_path: Path) -> None:
    plan, store = judged_plan((0,)), Store(tmp_path)
    trial = next(trial for trial in plan.trials if trial.variant == "image2image")
    assert trial.realism is not None
    with publishing(store, trial.realism) as folder:
        (folder / "realism.json").write_text(json.dumps(realism))
    section = gan_section(read_results(replace(plan, trials=(trial,)), store))
    assert section is not None
    values = section.lines[1].values
    assert values["conditioned_recall_iou50"] == 0.1695501730103806
    assert values["sliced_wasserstein"] == 164.25717746218046
    assert "image2image, undetermined (training and held-out patients already differ" in section.note


def test_realism_at_its_gate() -> None:
    gate = memorisation_gate(read_realism(MADE_BEFORE).synthetic["image2image"])
    assert (gate.figure, gate.verdict) == (0.0559720139930035, "undetermined")


@pytest.mark.parametrize(
    ("model", "verdicts"),
    [
        ("metsweep-detector", ["pass", "undetermined", "fail", "pass", "pass"]),
        ("metsweep-generator", ["pass", "undetermined", "pass", "pass"]),
    ],
)
def test_tags_of_registered_versions(model: str, verdicts: list[str]) -> None:
    tags = json.loads((MADE_BEFORE / "registry_tags.json").read_text())[model]
    (judged,) = records(tags["version"])
    assert judged.at.startswith("2026-11-28")
    assert judged.forced == "make demo: one seed and two validation patients let no gate tell a gain"
    assert [gate.verdict for gate in judged.gates] == verdicts
    reign = read_tag(tags["model"], f"{REIGN}0001", Reign)
    assert (reign.version, reign.since[:10], reign.why) == ("1", "2026-11-28", f"forced: {judged.forced}")
