"""No command shows a password or a token of the URIs that it is given, nor leaves one in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from search_spaces.study import load_study
from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.sweep.cli.conftest import STUDY, Ended, Metsweep

SECRETS = ("hunter2", "t0ken-of-mine", "pa/ss-phrase")
QUERY = f"password={SECRETS[0]}&sslpassword={SECRETS[0]}&token={SECRETS[1]}"
DATABASE = f"postgresql://mlflow:{SECRETS[2]}@127.0.0.1:1/db?{QUERY}"
"""Nobody answers there."""
SERVER = f"http://reader:{SECRETS[0]}@127.0.0.1:1/?{QUERY}"
FILE = f"sqlite:////proc/none/some.db?{QUERY}"
"""It cannot be made."""

ASKS_MLFLOW = (
    ("registry",),
    ("rollback",),
    ("compare", "champion", "candidate", "--cohort", "cohort"),
    ("detect", "volume.nii.gz", "--out", "found"),
    ("store", "gc"),
    ("promote", STUDY, "--dry-run"),
    ("report", STUDY),
    ("track", STUDY),
    ("doctor",),
    ("doctor", "--json"),
)
SHOWN = {"registry", "rollback", "compare", "store", "doctor"}
"""Commands that say where MLflow is."""
ASKS_OPTUNA = (("plan", STUDY), ("status", STUDY), ("report", STUDY), ("promote", STUDY))


@pytest.fixture
def tells_none(metsweep: Metsweep, study_file: Path):
    """Runs a command; neither what it says nor what it leaves in the working directory holds a secret."""
    study = load_study(str(study_file))
    StudyRecord(Store(study_file.parent / "metsweep-store"), study.name).keep_study(study)

    def run(*arguments: str) -> Ended:
        ended = metsweep(*arguments)
        files = b"".join(path.read_bytes() for path in study_file.parent.rglob("*") if path.is_file())
        for secret in SECRETS:
            assert secret not in ended.out + ended.err, arguments
            assert secret.encode() not in files, arguments
        assert "Traceback" not in ended.err, arguments
        return ended

    return run


@pytest.mark.parametrize("uri", [DATABASE, SERVER, FILE])
def test_of_mlflow(tells_none, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for command in ASKS_MLFLOW:
        ended = tells_none(*command)
        assert command[0] not in SHOWN or "***" in ended.out + ended.err, ended


@pytest.mark.parametrize("uri", [DATABASE, FILE])
def test_of_optuna(tells_none, study_file: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    values = yaml.safe_load(study_file.read_text()) | {"search": {"method": "random", "trials": 3}}
    study_file.write_text(yaml.safe_dump(values | {"space": {"detector.learning_rate": {"float": [0.001, 0.01]}}}))
    monkeypatch.setenv("OPTUNA_STORAGE", uri)
    assert "***" in tells_none("doctor").out
    for command in ASKS_OPTUNA:
        tells_none(*command)
    if uri == DATABASE:
        for command in ("plan", "launch"):
            assert "***" in tells_none(command, STUDY).err


def test_of_ray(tells_none, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (f"ray://me:{SECRETS[0]}@127.0.0.1:1?{QUERY}", f"ray://me:{SECRETS[0]}@127.0.0.1?{QUERY}"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        for command in (("plan", STUDY), ("launch", STUDY), ("doctor",)):
            ended = tells_none(*command)
            assert "***" in ended.out + ended.err, ended


def test_of_the_store(tells_none, monkeypatch: pytest.MonkeyPatch) -> None:
    for store in (f"s3://me:{SECRETS[0]}@bucket/prefix", f"s3://bucket/prefix?{QUERY}", f"gs://me:{SECRETS[0]}@bucket"):
        monkeypatch.setenv("METSWEEP_STORE", store)
        for command in (("store", "ls"), ("store", "gc"), ("plan", STUDY), ("launch", STUDY), ("doctor",)):
            ended = tells_none(*command)
            assert "***" in ended.out + ended.err, ended
    monkeypatch.setenv("METSWEEP_STORE", "s3://bucket/prefix")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://me:{SECRETS[0]}@127.0.0.1:1/?{QUERY}")
    assert "***" in tells_none("doctor").out


def test_of_the_tracking_server_that_the_ui_names(tells_none, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    assert "http://reader:***@127.0.0.1:1/?password=***&sslpassword=***&token=***" in tells_none("ui").out
