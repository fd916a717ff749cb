"""What the doctor finds, on this machine and on broken ones."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import certifi
import pytest

from sweep.cli import main
from sweep.doctor import LOOK, MISSING, OK, Finding, examine
from sweep.doctor.machine import gpu
from sweep.doctor.named import examine_named, examine_webhook
from sweep.doctor.services import clock, mlflow, registry
from sweep.settings import Settings
from sweep.studies.optuna_study import open_storage
from tests.trainers.data.phantom import make_cohort

PASSWORD = "a-secret"


def findings(
    tmp_path: Path,
    store: Path | None = None,
    uri: str | None = None,
    ray: str | None = None,
    optuna_storage: str | None = None,
) -> dict[str, Finding]:
    """What is found, by what was looked at."""
    settings = Settings(
        store=str(store or tmp_path / "store"),
        tracking_uri=uri or f"sqlite:///{tmp_path / 'mlflow.db'}",
        optuna_storage=optuna_storage or f"sqlite:///{tmp_path / 'optuna.db'}",
        ray_address=ray,
    )
    found = {finding.what: finding for finding in examine(settings)}
    assert all(isinstance(finding, Finding) for finding in found.values())
    return found


def test_this_machine_can_run_the_demo_and_looking_changes_nothing(tmp_path: Path) -> None:
    found = findings(tmp_path)
    blocking = [finding for finding in found.values() if finding.state == MISSING]
    assert not blocking
    assert {"Python", "packages", "cores", "memory", "store", "disk of the store", "GPU", "Ray", "MLflow"} <= set(found)
    assert {"Optuna", "OpenCV"} <= set(found)
    assert found["heads of the demo cohort"].state == OK
    assert found["weights of the skull stripping"].state == OK
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named_with_a_way_to_fix_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something")
    database = f"postgresql://mlflow:{PASSWORD}@127.0.0.1:1/mlflow"
    found = findings(tmp_path, store=tmp_path / "file" / "store", uri=database, ray="127.0.0.1:1")
    for what, fix in (("store", "METSWEEP_STORE"), ("MLflow", "MLFLOW_TRACKING_URI"), ("Ray", "RAY_ADDRESS")):
        assert found[what].state == MISSING
        assert fix in found[what].fix
    assert PASSWORD not in str(found)


def test_unreachable_tracking_server(tmp_path: Path) -> None:
    found = findings(tmp_path, uri="http://127.0.0.1:1")["MLflow"]
    assert found.state == MISSING
    assert "Connection refused" in found.found
    assert "Start it there" in found.fix
    assert "Start it there" not in found.found, "said twice"


def test_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be looked at " * 10)
    assert findings(tmp_path)["MLflow"].state == MISSING


def test_optuna_s_database(tmp_path: Path) -> None:
    def look(uri: str | None = None) -> Finding:
        found = findings(tmp_path, optuna_storage=uri)["Optuna"]
        assert "\n" not in found.found
        assert (found.state == MISSING) == ("OPTUNA_STORAGE" in found.fix)
        return found

    file = tmp_path / "optuna.db"
    uri = f"sqlite:///{file}"
    assert look().found == f"{uri}, will be made"
    assert not file.exists()
    file.touch()
    assert look().found == f"{uri}, empty: tables will be made"
    assert file.stat().st_size == 0
    open_storage(uri)
    assert re.search(r", schema v\d", look().found)

    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    newer = look()
    assert (newer.state, "no longer compatible with the table schema" in newer.found) == (MISSING, True)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DROP TABLE version_info")
    assert "not those of Optuna" in look().found
    file.write_text("not a database, but long enough to be looked at " * 10)
    assert look().state == MISSING


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("nonsense", "Could not parse"),
        ("nodialect://h/db", "nodialect"),
        ("postgresql://u:a#b@127.0.0.1:1/db", "refused"),
        ("postgresql://u:p@127.0.0.1:port/db", "no URI of a database"),
        ("sqlite:////proc/none/optuna.db", "/proc"),
    ],
)
def test_values_of_optuna_storage_that_cannot_be_used(tmp_path: Path, uri: str, why: str) -> None:
    found = findings(tmp_path, optuna_storage=uri)["Optuna"]
    assert found.state == MISSING
    assert why in found.found
    assert "\n" not in found.found
    assert "OPTUNA_STORAGE" in found.fix


def test_versions_other_than_the_tested_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "constraints.txt").write_text("# tested\nnumpy==0.0.1\nno-such-package==1.0\n")
    versions = findings(tmp_path)["versions"]
    assert versions.state == LOOK
    assert "numpy" in versions.found
    assert "0.0.1" in versions.found
    assert "no-such-package" not in versions.found


def test_command_tells_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    assert "The demo can run." in capsys.readouterr().out
    assert main(["doctor", "--json", "--store", "/proc/store"]) == 1
    table = {entry["what"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert table["store"]["state"] == MISSING
    assert table["Python"]["state"] == OK


@pytest.mark.parametrize(("ahead_s", "state"), [(0.4, OK), (-4, OK), (8, LOOK), (-90, LOOK), (700, MISSING)])
def test_clocks_that_differ(ahead_s: float, state: str) -> None:
    found = clock("clock", ahead_s)
    assert found.state == state
    assert (state == OK) == (found.fix == "")
    assert state == OK or f"{abs(ahead_s)} s {'ahead' if ahead_s > 0 else 'behind'}" in found.found


def test_gpus_that_ray_offers_must_exist() -> None:
    if gpu().found != "none":
        pytest.skip("this machine has GPUs")
    assert gpu(0.0).state == OK
    assert (gpu(2.0).state, gpu(2.0).found) == (MISSING, "none, though Ray offers 2")


def test_a_variable_that_is_almost_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "settings" not in findings(tmp_path)
    monkeypatch.setenv("METSWEEP_STROE", "x")
    assert findings(tmp_path)["settings"].found == "METSWEEP_STROE is no setting. Did you mean 'METSWEEP_STORE'?"


@pytest.mark.parametrize("uri", ["htp:/x", "foo", "mysq://h/x", "ftp://h/x", f"postgres://u:{PASSWORD}@127.0.0.1:1/x"])
def test_what_mlflow_refuses_is_missing(uri: str) -> None:
    for look in (mlflow, registry):
        found = look(uri)
        assert found.state == MISSING or (look, uri) == (registry, "foo"), found
        assert PASSWORD not in str(found)


def test_a_database_of_another_program_is_none_for_mlflow(tmp_path: Path, empty_database: Path) -> None:
    others, new, old = (tmp_path / f"{name}.db" for name in ("optuna", "new", "old"))
    open_storage(f"sqlite:///{others}")
    assert "tables of another program" in mlflow(f"sqlite:///{others}").found
    for file in (new, old):  # MLflow remembers which it has looked at
        file.write_bytes(empty_database.read_bytes())
    assert mlflow(f"sqlite:///{new}").found == f"sqlite:///{new}, accepted"
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    assert (mlflow(f"sqlite:///{old}").state, registry(f"sqlite:///{old}").state) == (MISSING, MISSING)


@pytest.mark.parametrize(
    ("key", "value", "state"),
    [
        ("cache", "/proc/x", MISSING),
        ("mlflow_ca_file", "/no/ca", MISSING),
        ("postgresql_ca_file", "{no_certificate}", MISSING),
        ("s3_ca_file", "/no/ca", MISSING),
        ("ray_token_file", "/no/file", MISSING),
        ("ray_token_file", "/dev/null", MISSING),
        ("metrics_address", "192.0.2.1:9464", MISSING),
        ("metrics_address", "127.0.0.1:{taken}", LOOK),
        ("notify_command", f"/no/such {PASSWORD}", LOOK),
        ("notify_webhook", f"http://127.0.0.1:9/{PASSWORD}", LOOK),
    ],
)
def test_what_settings_name_must_be_usable(tmp_path: Path, key: str, value: str, state: str) -> None:
    (tmp_path / "ca.pem").write_text("none")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        named = value.format(taken=taken.getsockname()[1], no_certificate=tmp_path / "ca.pem")
        settings = Settings.model_validate({key: named})
        (found,) = [finding for finding in _named(settings) if finding.what == key]
    assert found.state == state, found
    assert f"METSWEEP_{key.upper()}" in found.fix or key == "metrics_address"
    assert PASSWORD not in str(found)


def test_what_settings_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = Settings(
            cache=str(tmp_path / "new"), s3_ca_file=certifi.where(), postgresql_ca_file="system",
            ray_token_file=str(tmp_path / "token"), metrics_address="127.0.0.1:29464", notify_command="sh -c true",
            notify_webhook=f"http://127.0.0.1:{server.getsockname()[1]}/{PASSWORD}",
        )  # fmt: skip
        found = _named(settings)
    assert {finding.state for finding in found if finding.what != "metrics_address"} == {OK}
    assert PASSWORD not in str(found)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "y")
    assert {finding.what for finding in examine_named(settings) if finding.state != OK} >= {"ray_token_file"}


def _named(settings: Settings) -> list[Finding]:
    webhook = settings.notify_webhook
    return [*examine_named(settings), *([] if webhook is None else [examine_webhook(webhook)])]


def test_the_cohort_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(tmp_path / "cohort")

    def look(*arguments: str) -> tuple[str, str]:
        main(["doctor", "--json", *arguments])
        (found,) = (row for row in json.loads(capsys.readouterr().out) if row["what"] == "cohort")
        return found["state"], found["found"]

    assert look("--cohort", str(cohort)) == look("quickstart", "--cohort", str(cohort)) == (OK, str(cohort))
    assert look("quickstart")[0] == MISSING
    next(cohort.rglob("*.nii.gz")).unlink()
    assert look("--cohort", str(cohort))[0] == MISSING
