"""Broken documents and databases of a study through the commands that read them: one line, exit code 2, no change."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from search_spaces.study import load_study
from sweep.store import Store
from sweep.studies.optuna_study import create_optuna_study, open_storage
from sweep.studies.outcome import Outcome
from sweep.studies.records import LaunchOptions, Status, StudyRecord
from tests.sweep.cli.conftest import STUDY, Metsweep
from tests.sweep.plans import make_plan

BROKEN = {
    "empty": b"",
    "blank": b" \n",
    "a list": b"[1, 2]",
    "nothing": b"null",
    "of another kind": b"3",
    "no UTF-8": b"\xff\xfe\x00name",
    "NUL": b"\0" * 100,
    "deep lists": b"[" * 3000,
    "deep mappings": b'{"a":' * 3000,
    "half of a surrogate pair": b'{"cohort": "\\ud800"}',
    "a long number": b'{"seeds": [' + b"9" * 5000 + b"]}",
    "a key twice": b'{"seeds": [1], "seeds": [2], "updated": 1, "updated": 2}',
}
READ_BY = {
    "study.yaml": [("plan", "small"), ("status", "small"), ("report", "small"), ("plan", STUDY), ("launch", "small")],
    "extension.yaml": [("plan", STUDY), ("status", STUDY), ("report", STUDY), ("extend", STUDY, "--seeds", 3)],
    "options.json": [("plan", STUDY), ("status", STUDY), ("track", STUDY), ("launch", STUDY)],
    "outcomes.json": [("status", STUDY), ("stop", STUDY, "none"), ("retry", STUDY, "--failed"), ("launch", STUDY)],
    "needs.json": [("store", "gc", "--ignore-registry"), ("plan", STUDY, "--set", "detector.batch=3")],
}


@pytest.fixture
def folder(study_file: Path) -> Path:
    """The documents of a study that was launched, all there."""
    record, study = StudyRecord(Store("metsweep-store"), "small"), load_study(str(study_file))
    record.keep_study(study)
    record.keep_needs(make_plan(study))
    record.keep_extension({"seeds": [0, 1]}, {})
    record.keep_options(LaunchOptions(overrides=("detector.learning_rate=0.0005",)))
    record.keep_outcomes({"none seed 0": Outcome(state="failed", error="no memory")})
    record.keep_status(Status(updated=0, began=0, host="here", pid=1))
    return Path("metsweep-store/studies/small").absolute()


@pytest.mark.parametrize("name", READ_BY)
def test_a_broken_document_is_one_line(metsweep: Metsweep, folder: Path, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    for how, content in (BROKEN | {"truncated": whole[: len(whole) // 2]}).items():
        path.write_bytes(content)
        before = {one: one.read_bytes() for one in Path.cwd().rglob("*") if one.is_file()}
        for command in READ_BY[name] if how == "empty" else READ_BY[name][:1]:
            ended = metsweep(*command)
            errors = [line for line in ended.err.splitlines() if not line.startswith("Using the ")]
            assert (ended.code, len(errors)) == (2, 1), (how, command, ended)
            assert errors[0].startswith(f"error: {path} is damaged: "), (how, command, ended.err)
            assert "emove it" in errors[0] or "Launch the study again" in errors[0], errors
            assert {one: one.read_bytes() for one in Path.cwd().rglob("*") if one.is_file()} == before


def test_a_broken_status_is_told_and_left_aside(
    metsweep: Metsweep, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for how, content in BROKEN.items():
        (folder / "status.json").write_bytes(content)
        caplog.clear()
        ended = metsweep("status", STUDY)
        assert ended.code == 0, (how, ended)
        assert "The state of the last launch is unknown" in ended.out
        assert f"{folder / 'status.json'} is damaged: " in caplog.text
    ended = metsweep("watch", STUDY)
    assert ended.code == 2
    assert "the state of its last launch is unknown" in ended.err
    assert metsweep("retry", STUDY, "--failed").code == 0


def sql(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)

    return change


def without_a_page(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(4096) + content[8192:])


DAMAGED_DATABASE: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("no database " * 100), "is damaged: file is not a database"),
    "half of it": (lambda path: path.write_bytes(path.read_bytes()[:6000]), "is damaged: "),
    "a page of zeros": (without_a_page, "is damaged: "),
    "a value of another kind": (sql("UPDATE trials SET datetime_start = '{'"), "is damaged: ValueError: Invalid iso"),
    "a value that is none": (sql("UPDATE trial_params SET distribution_json = '['"), "is damaged: JSONDecodeError: "),
    "a table less": (sql("DROP TABLE trials"), "is damaged: the table trials is missing. Restore it from a copy, or "),
}


def test_a_damaged_database_of_optuna_is_one_line(metsweep: Metsweep, study_file: Path) -> None:
    space = {"detector.learning_rate": {"float": [1e-4, 1e-3]}}
    values = yaml.safe_load(study_file.read_text())
    study_file.write_text(yaml.safe_dump(values | {"search": {"method": "random", "trials": 5}, "space": space}))
    study, path = load_study(str(study_file)), Path("optuna.db").absolute()
    StudyRecord(Store("metsweep-store"), "small").keep_study(study)
    made = create_optuna_study(study, open_storage(f"sqlite:///{path}"))
    made.ask({name: one.distribution() for name, one in study.space.items()})
    whole = path.read_bytes()
    for how, (damage, told) in DAMAGED_DATABASE.items():
        path.write_bytes(whole)
        damage(path)
        before = path.read_bytes()
        for command in ("plan", "status"):
            ended = metsweep(command, STUDY)
            assert (ended.code, len(ended.err.splitlines())) == (2, 1), (how, command, ended)
            assert ended.err.startswith(f"error: Optuna's database sqlite:///{path} {told}") or (
                ended.err.startswith(f"error: Optuna's database {path} {told}")
            ), (how, ended.err)
        assert path.read_bytes() == before


@pytest.mark.usefixtures("folder")
def test_a_damaged_database_of_mlflow_is_one_line(metsweep: Metsweep) -> None:
    path = Path("mlflow.db").absolute()
    path.write_text("no database " * 100)
    for command in (("registry",), ("rollback",), ("store", "gc"), ("track", STUDY)):
        ended = metsweep(*command)
        assert ended.code == 2, (command, ended)
        assert f"error: MLflow's database {path} is damaged: file is not a database. " in ended.err
        assert len([line for line in ended.err.splitlines() if not line.startswith("Using the ")]) == 1
    ended = metsweep("report", STUDY, "--format", "csv", "--out", "report")
    assert ended.code == 0, ended
    assert "The report lists no MLflow runs: MLflow's database" in ended.err
