"""infra/compose: valid with the secrets that its script makes, closed to other machines, started in the right order."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infra.tools import INFRA, run_tool

STORED_SECRETS = re.compile(r"^[^=\n]*(?:TOKEN|PASSWORD|SECRET|ACCESS_KEY|URI|STORAGE)[^=\n]*=(\S+)$", re.M)
TASKS = {"bucket", "migrate", "trials"}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder with secrets, made by a user who is not root."""
    folder = tmp_path_factory.mktemp("box")
    shutil.copytree(
        INFRA / "compose", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", "secrets", ".env")
    )
    script = (folder / "secrets.sh").read_text()
    if os.getuid() == 0:
        script = script.replace('[ "$(id -u)" = 0 ]', "false")
    subprocess.run(["sh", "-s"], input=script, cwd=folder, check=True, text=True)
    return folder


@pytest.fixture(scope="module")
def services(box: Path) -> dict[str, Any]:
    """As Compose reads the file, without the content of the secrets."""
    options = ("--file", box / "compose.yaml", "config", "--no-env-resolution", "--format", "json")
    return json.loads(run_tool("docker-compose", *options))["services"]


def test_secrets_belong_to_one_user_and_stay(box: Path) -> None:
    made = {file: file.read_text() for file in (box / "secrets").iterdir()}
    assert len(made) == 7
    for file in (box / "secrets", box / "data", *made):
        assert not stat.S_IMODE(file.stat().st_mode) & 0o077, file
    subprocess.run(
        ["sh", "-s"], input=(box / "secrets.sh").read_text().replace("exit 2", ":"), cwd=box, check=True, text=True
    )
    assert made == {file: file.read_text() for file in (box / "secrets").iterdir()}


def test_secrets_are_not_in_the_file_nor_in_git(box: Path) -> None:
    text = (box / "compose.yaml").read_text() + run_tool(
        "docker-compose", "--file", box / "compose.yaml", "config", "--no-env-resolution"
    )
    values = {value for file in (box / "secrets").glob("*.env") for value in STORED_SECRETS.findall(file.read_text())}
    assert len(values) == 7
    assert not [value for value in values if value in text]
    assert {"/.env", "/data/", "/secrets/"} <= {*(box / ".gitignore").read_text().split()}


def test_services_are_locked_down(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["user"] == f"{os.getuid()}:{os.getgid()}", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        assert service["restart"] == ("no" if name in TASKS else "unless-stopped"), name


def test_only_this_machine_reaches_a_port(services: dict[str, Any]) -> None:
    published = {
        port["published"]: port["host_ip"] for service in services.values() for port in service.get("ports", ())
    }
    assert {*published} == {"5000", "8080", "8265"}
    assert {*published.values()} == {"127.0.0.1"}


def test_services_wait_for_what_they_need(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, dependency in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in TASKS else "service_healthy"
            assert dependency["condition"] == expected, f"{name} -> {other}"
            assert other in TASKS or "healthcheck" in services[other], other
    assert {*services["mlflow"]["depends_on"]} == {"bucket", "migrate"}
    assert {*services["ray"]["depends_on"]} == {"mlflow"}
    assert {*services["optuna"]["depends_on"]} == {"trials"}


def test_mlflow_is_checked_by_the_name_that_clients_use(services: dict[str, Any]) -> None:
    options = dict(option.split("=", 1) for option in services["mlflow"]["command"] if "=" in option)
    address = services["ray"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert address in options["--allowed-hosts"].split(",")
    assert "*" not in options["--allowed-hosts"]
    host, port = address.split(":")
    check = services["mlflow"]["healthcheck"]["test"][-1]
    assert f'HTTPConnection("{host}", {port}' in check
    assert "/health" not in check
    assert options["--workers"] == "1"
    assert options["--app-name"] == "basic-auth"
    for script in (
        check,
        services["migrate"]["command"][-1],
        services["trials"]["command"][-1],
        services["optuna"]["command"][-1],
    ):
        compile(script, "compose.yaml", "exec")


def test_ray_has_the_gpus_a_token_and_time_for_a_checkpoint(services: dict[str, Any]) -> None:
    ray = services["ray"]
    (devices,) = ray["deploy"]["resources"]["reservations"]["devices"]
    assert devices["capabilities"] == ["gpu"]
    assert devices["count"] == -1
    assert ray["environment"]["RAY_AUTH_MODE"] == "token"
    assert ray["stop_grace_period"] == "2m0s"
    assert float(ray["environment"]["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]) < 120
    assert {"target": "/cohort", "read_only": True}.items() <= ray["volumes"][0].items()
