"""What commands do with a damaged store and damaged databases: an answer or one line; never an unexpected error."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.study import load_study
from sweep.cli import FAULT, REFUSED, main
from sweep.store import Store
from sweep.studies.optuna_study import create_optuna_study, open_storage
from sweep.studies.outcome import Outcome
from sweep.studies.records import LaunchOptions, Status, StudyRecord
from tests.fuzz.damage import TEXT
from tests.fuzz.damaged_database import DATABASE
from tests.fuzz.harness import Damage, fuzz
from tests.sweep.plans import make_plan
from tests.sweep.publishing import cost_of, publishing
from tests.trainers.data.phantom import make_cohort
from trainers.exceptions import StoreError

READ_BY: dict[str, tuple[str, ...]] = {
    "metsweep-store/studies/small/study.yaml": ("status", "small"),
    "metsweep-store/studies/small/extension.yaml": ("plan", "small"),
    "metsweep-store/studies/small/options.json": ("report", "small.yaml", "--format", "console"),
    "metsweep-store/studies/small/outcomes.json": ("status", "small"),
    "metsweep-store/studies/small/status.json": ("status", "small", "--json"),
    "metsweep-store/studies/small/needs.json": ("store", "gc", "--ignore-registry"),
    "optuna.db": ("plan", "small"),
}
MANIFEST_READ_BY = [("store", "ls"), ("store", "du"), ("store", "verify"), ("status", "small")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a search was launched, one artifact is made, and every document is there."""
    folder = tmp_path_factory.mktemp("launched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        values = {
            "name": "small", "cohort": str(make_cohort(folder / "cohort")), "fidelity": "laptop",
            "arms": [{"variant": "none"}, {"variant": "cpggan", "counts": [4000]}],
            "search": {"method": "random", "trials": 2},
            "space": {"detector.learning_rate": {"float": [1e-4, 1e-3]}},
        }  # fmt: skip
        Path("small.yaml").write_text(yaml.safe_dump(values))
        study, store = load_study("small.yaml"), Store("metsweep-store")
        record, plan = StudyRecord(store, "small"), make_plan(study)
        record.keep_study(study)
        record.keep_needs(plan)
        record.keep_extension({"seeds": [0, 1]}, {})
        record.keep_options(LaunchOptions(overrides=("detector.steps=900",)))
        record.keep_outcomes({"none seed 0": Outcome(state="failed", error="no memory")})
        record.keep_status(Status(updated=0, began=0, host="here", pid=1))
        made = create_optuna_study(study, open_storage(f"sqlite:///{folder / 'optuna.db'}"))
        made.ask({name: one.distribution() for name, one in study.space.items()})
        with publishing(store, plan.trials[0].evaluate, cost_of(10)) as files:
            (files / "metrics.json").write_text("{}")
    return folder


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("METSWEEP_CACHE", str(tmp_path))
    return folder


def commanded(path: Path, arguments: tuple[str, ...]) -> Callable[[bytes], Any]:
    """Runs a command over a damaged file; its exit code, if it answered."""

    def run(made: bytes) -> int:
        path.write_bytes(made)
        said, told = io.StringIO(), io.StringIO()
        with redirect_stdout(said), redirect_stderr(told):
            code = main(arguments)
        if code == REFUSED:
            raise StoreError(told.getvalue())
        if code not in (0, FAULT) or "unexpected" in told.getvalue() or "Traceback" in told.getvalue():
            raise AssertionError(f"exit code {code}: {told.getvalue()}")
        return code

    return run


def check(path: Path, arguments: tuple[str, ...], damages: dict[str, Damage], count: int) -> None:
    whole = path.read_bytes()
    tally = fuzz(commanded(path, arguments), whole, damages, count=count)
    path.write_bytes(whole)
    assert not tally.faults, f"{path.name}, {' '.join(arguments)}: {tally}"


@pytest.mark.parametrize("name", READ_BY)
def test_documents_and_the_database_of_a_search(here: Path, name: str) -> None:
    check(here / name, READ_BY[name], DATABASE if name.endswith(".db") else TEXT, 8)


def test_manifests(here: Path) -> None:
    (path,) = here.glob("metsweep-store/evaluate/*/manifest.json")
    for arguments in MANIFEST_READ_BY:
        check(path, arguments, TEXT, 5)
