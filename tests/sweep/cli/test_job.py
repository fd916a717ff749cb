"""Jobs on a cluster: what is refused before one is submitted, and what a job refuses before any work."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from search_spaces.study import load_study
from sweep.cli import job
from sweep.settings import Settings
from sweep.store import Store
from sweep.studies.records import relaunchable
from sweep.versions import versions
from tests.sweep.cli.conftest import STUDY, Metsweep

MARK = "studies/small/submissions/1"


@pytest.fixture
def submission(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Of a job that would run; the databases are set as on a cluster's head."""
    store = study_file.parent / "store"
    Store(store).write_text(MARK, "here")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'mlflow.db'}")
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{store / 'optuna.db'}")
    return {
        "study": relaunchable(load_study(str(study_file))),
        "store": str(store),
        "mark": MARK,
        "settings": {},
        "versions": versions(),
        "fail_fast": False,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"versions": versions() | {"torch": "1.0"}}, "has other versions: torch 2"),
        ({"versions": {}, "unknown": 1}, "unknown here"),
        ({"mark": "studies/small/submissions/2"}, "is not the store of the machine that submits"),
        ({"unset": "OPTUNA_STORAGE"}, "OPTUNA_STORAGE is not set on the cluster"),
        ({"unset": "MLFLOW_TRACKING_URI"}, "MLFLOW_TRACKING_URI is not set on the cluster"),
        ({"cohort": "/nowhere"}, "The cohort /nowhere does not exist on node "),
    ],
)
def test_a_job_refuses_what_cannot_work_there(
    metsweep: Metsweep,
    submission: dict[str, object],
    change: dict[str, object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "unset" in change:
        monkeypatch.delenv(str(change.pop("unset")))
    if "cohort" in change:
        change = {"study": submission["study"] | change}  # pyright: ignore[reportOperatorIssue]
    Path("job.json").write_text(json.dumps(submission | change))
    ended = metsweep("run-job", "job.json")
    assert ended.code == 2
    assert message in ended.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "root:x:0:0",
            "job.json is no job of metsweep: not valid JSON (Expecting value: line 1 ",
        ),
        ("[" * 100_000, "job.json is no job of metsweep: not valid JSON ("),
        ("[1]", "job.json is no job of metsweep: it names no versions. "),
        ('{"versions": 1}', "job.json is no job of metsweep: it names no versions. "),
        (json.dumps({"versions": versions()}), "job.json is no job of metsweep: 'study': Field required. "),
    ],
)
def test_another_file_than_a_job_is_refused(metsweep: Metsweep, text: str, message: str) -> None:
    Path("job.json").write_text(text)
    ended = metsweep("run-job", "job.json")
    assert ended.code == 2
    assert message in ended.err


def test_a_cluster_gets_the_settings_of_a_launch_but_no_secret_and_no_file_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = {
        "tracking_uri": "http://mlflow:5000", "s3_endpoint": "http://s3:8333", "s3_encryption": "aws:kms",
        "metrics_address": "0.0.0.0:9464", "notify_command": "notify --all", "notify_stall_minutes": 5,
        "s3_insecure_tls": True,
    }  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    Path("metsweep.toml").write_text("\n".join([*lines, 's3_ca_file = "s3.pem"', 'cache = "copies"']))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://optuna:planted@db/optuna")
    monkeypatch.setenv("METSWEEP_NOTIFY_WEBHOOK", "https://ntfy.example/planted")
    assert job._passed(Settings.from_environment()) == plain
    said = capsys.readouterr().err
    assert "set METSWEEP_OPTUNA_STORAGE, METSWEEP_NOTIFY_WEBHOOK there" in said
    assert "planted" not in said
    monkeypatch.setenv("OPTUNA_STORAGE", "sqlite:///optuna.db")
    monkeypatch.setenv("METSWEEP_NOTIFY_WEBHOOK", "http://127.0.0.1:8080/")
    assert job._passed(Settings.from_environment()) == plain | {"notify_webhook": "http://127.0.0.1:8080/"}
    of_a_machine = {"cache", "ray_address", "ray_token_file", "mlflow_ca_file", "postgresql_ca_file", "s3_ca_file"}
    given_otherwise = {"store", "registry_uri", "price_gpu_hour", "price_cpu_hour", "price_currency"}
    assert {*Settings.model_fields} == {*job.PASSED} | of_a_machine | given_otherwise


def test_what_a_submission_sets_counts_only_where_the_cluster_sets_nothing(
    submission: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.environ["OPTUNA_STORAGE"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("METSWEEP_NOTIFY_COMMAND", "own")
    settings = {
        "tracking_uri": "http://mlflow:5000", "optuna_storage": "postgresql://elsewhere/optuna",
        "notify_command": "another", "notify_stall_minutes": 5.0, "s3_insecure_tls": True,
    }  # fmt: skip
    seen = job._settings_of_job(job.Submission.model_validate(submission | {"settings": settings}))
    assert (seen.tracking_uri, seen.optuna_storage) == ("http://mlflow:5000", own)
    assert (seen.notify_command, seen.notify_stall_minutes, seen.s3_insecure_tls) == ("own", 5.0, True)


def test_an_address_where_no_dashboard_answers_is_refused(metsweep: Metsweep, study_file: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for address, message in (
        (f"127.0.0.1:{port}", f"Cannot reach Ray's dashboard at http://127.0.0.1:{port}: no server answers"),
        ("ray://head:10001", "--cluster ray://head:10001: allowed: "),
    ):
        for command in ("launch", "watch", "stop", "logs"):
            ended = metsweep(command, STUDY, "--cluster", address)
            assert ended.code == 2
            assert message in ended.err
    assert not (study_file.parent / "metsweep-store").exists()


@pytest.mark.usefixtures("study_file")
def test_options_that_contradict_are_refused(metsweep: Metsweep) -> None:
    for arguments in (("launch", "--detach"), ("stop", "none"), ("logs", "none")):
        command, *others = arguments
        ended = metsweep(command, STUDY, *others, "--cluster", "http://head:8265")
        assert ended.code == 2
        assert "--cluster" in ended.err
