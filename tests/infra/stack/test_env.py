"""`metsweep stack env` points a shell at the stack, whatever its variables and the user's files name."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest

from infra.stack.credentials import Credentials
from infra.stack.ports import PORTS
from infra.stack.stack import POINTED_AT, Stack, Started, State
from infra.stack.variables import OF_LAUNCHES
from sweep.cli import main
from sweep.settings import DEFAULT, Settings, settings_and_origins, variables_of
from sweep.store.process import Process

ELSEWHERE = {
    "store": "s3://production/x", "cache": "/production", "ray_address": "production:6379", "ray_token_file": "/p",
    "tracking_uri": "https://production", "registry_uri": "https://production", "mlflow_ca_file": "/p.pem",
    "mlflow_insecure_tls": True, "optuna_storage": "postgresql://production/o", "postgresql_sslmode": "verify-full",
    "postgresql_ca_file": "/p.pem", "s3_endpoint": "https://production", "s3_region": "eu-1",
    "s3_encryption": "aws:kms", "s3_kms_key": "production", "s3_ca_file": "/p.pem", "s3_insecure_tls": True,
}  # fmt: skip
"""Every setting of a server."""


def text_of(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a stack whose servers seem to run; beside it lies a home with files of settings."""
    folder = tmp_path / "stack"
    folder.mkdir()
    started = Started(leader=Process.this(), stop_signal=signal.SIGTERM)
    ports = {name: 20_000 + number for number, name in enumerate(PORTS)}
    Stack(folder)._save(State(ports=ports, run=folder / "run", started=dict.fromkeys(POINTED_AT, started)))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    for file in (tmp_path / "metsweep.toml", tmp_path / "config" / "metsweep" / "metsweep.toml"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{key} = {value!r}\n".replace("True", "true") for key, value in ELSEWHERE.items()))
    return folder


@pytest.mark.parametrize("spelling", [None, 0, 1, 2])
def test_nothing_of_a_shell_or_a_file_leads_elsewhere(
    folder: Path, spelling: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {*ELSEWHERE} == {key for key in Settings.model_fields if not key.startswith(OF_LAUNCHES)}
    shell = {} if spelling is None else {
        variables_of(key)[spelling]: text_of(value)
        for key, value in ELSEWHERE.items() if len(variables_of(key)) > spelling
    }  # fmt: skip
    assert main(["stack", "env", "--dir", str(folder)]) == 0
    printed = capsys.readouterr().out
    own = {name: value for name, value in os.environ.items() if name in ("PATH", "XDG_CONFIG_HOME")}
    done = subprocess.run(
        ["bash", "-c", f"eval {shlex.quote(printed)}; env -0"],
        env=own | shell | {"AWS_PROFILE": "production", "METSWEEP_PRICE_GPU_HOUR": "2"},
        check=True, capture_output=True,
    )  # fmt: skip
    after = dict(line.split("=", 1) for line in done.stdout.decode().strip("\0").split("\0"))
    with patch.dict(os.environ, after, clear=True):
        settings, _ = settings_and_origins()
        assert settings == Settings.from_environment()
        assert "production" not in f"{settings} {dict(os.environ)}"
        assert settings.price_gpu_hour == 2
    expected = Settings().model_copy(
        update={
            "store": "s3://metsweep/store", "cache": str(folder / "cache"), "price_gpu_hour": 2.0,
            **{key: getattr(settings, key) for key in (
                "ray_address", "ray_token_file", "tracking_uri", "optuna_storage", "s3_endpoint", "s3_region")},
        }
    )  # fmt: skip
    assert settings == expected
    assert settings.tracking_uri == after["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:20010"


@pytest.mark.parametrize(
    ("stopped", "said"),
    [
        (("Ray", "MLflow"), "Stopped in the stack in {}: Ray, MLflow. No variable"),
        (POINTED_AT, "The stack in {} is down"),
    ],
)
def test_half_a_stack_sets_nothing(
    folder: Path, stopped: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = Stack(folder)
    state = stack._state()
    for name in stopped:
        del state.started[name]
    stack._save(state)
    assert main(["stack", "env", "--dir", str(folder)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said.format(folder) in printed.err
    assert "metsweep stack up" in printed.err


def test_no_variable_is_set_while_up_is_at_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Stack(folder)._alone():
        assert main(["stack", "env", "--dir", str(folder)]) == 2
    assert "Another `metsweep stack` command is at work" in capsys.readouterr().err


def test_tasks_of_its_ray_do_not_heed_the_users_files(folder: Path) -> None:
    stack = Stack(folder)
    servers = [server for wave in stack._services(stack._state(), Credentials()) for server in wave]
    (ray,) = [server for server in servers if server.name == "Ray"]
    with patch.dict(os.environ, ray.environment, clear=True):
        settings = settings_and_origins()[0]
        assert settings.s3_endpoint == os.environ["AWS_ENDPOINT_URL_S3"]
        assert "METSWEEP_RAY_ADDRESS" not in os.environ
        for key, value in ELSEWHERE.items():
            assert key.startswith("ray_") or getattr(settings, key) != value


@pytest.mark.usefixtures("folder")
def test_default_stands_for_the_default() -> None:
    assert settings_and_origins()[0].s3_encryption == "aws:kms"
    with patch.dict(os.environ, {"METSWEEP_POSTGRESQL_SSLMODE": f" {DEFAULT} ", "PGSSLMODE": "require"}):
        settings, origins = settings_and_origins()
        assert (settings.postgresql_sslmode, origins.get("postgresql_sslmode")) == (None, None)
        Settings.from_environment()
        assert "PGSSLMODE" not in os.environ
