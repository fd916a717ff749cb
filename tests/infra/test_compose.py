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
import yaml

from tests.infra.tools import INFRA, run_tool, tool

STORED_SECRETS = re.compile(r"^[^=\n]*(?:TOKEN|PASSWORD|SECRET|ACCESS_KEY|URI|STORAGE)[^=\n]*=(\S+)$", re.M)
TASKS = {"bucket", "migrate", "trials"}
COHORT = "my $HOME: cohort"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder with secrets, made by a user who is not root."""
    folder = tmp_path_factory.mktemp("box")
    shutil.copytree(
        INFRA / "compose", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", "secrets", ".env")
    )
    (folder / COHORT).mkdir()
    make_secrets(folder, COHORT)
    return folder


def make_secrets(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run secrets.sh as a user who is not root."""
    script = (folder / "secrets.sh").read_text().replace('[ "$(id -u)" = 0 ]', "false")
    command = ["sh", "-s", "--", *arguments]
    return subprocess.run(command, input=script, cwd=folder, capture_output=True, text=True, timeout=60)


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
    assert make_secrets(box, COHORT).returncode == 0
    assert made == {file: file.read_text() for file in (box / "secrets").iterdir()}


def test_secrets_are_not_in_the_file_nor_in_git(box: Path) -> None:
    text = (box / "compose.yaml").read_text() + run_tool(
        "docker-compose", "--file", box / "compose.yaml", "config", "--no-env-resolution"
    )
    values = {value for file in (box / "secrets").glob("*.env") for value in STORED_SECRETS.findall(file.read_text())}
    assert len(values) == 8
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


def test_ray_has_the_cohort_and_a_disk_for_temporary_files(box: Path, services: dict[str, Any]) -> None:
    ray = services["ray"]
    mounts = {volume["target"]: volume for volume in ray["volumes"]}
    cohort = mounts["/cohort"]
    assert cohort["source"].replace("$$", "$") == str(box / COHORT)
    assert cohort["read_only"] is True
    assert cohort["bind"].get("create_host_path", False) is False
    assert mounts["/tmp"]["source"] == str(box / "data/tmp")
    assert not ray.get("tmpfs")
    assert ray["entrypoint"][:2] == ["sh", "-c"]


def test_compose_refuses_to_start_without_a_cohort(box: Path, tmp_path: Path) -> None:
    (tmp_path / "env").write_text((box / ".env").read_text().partition("COHORT")[0])
    options = ("--env-file", tmp_path / "env", "--file", box / "compose.yaml", "config", "--quiet")
    refused = subprocess.run([tool("docker-compose"), *options], capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0
    assert "run ./secrets.sh COHORT first" in refused.stderr


@pytest.mark.parametrize("arguments", [(), ("nowhere",)])
def test_secrets_are_made_for_a_cohort_that_exists(box: Path, arguments: tuple[str, ...]) -> None:
    known = (box / ".env").read_text()
    refused = make_secrets(box, *arguments)
    assert (refused.returncode, refused.stderr) == (2, "Usage: ./secrets.sh COHORT, a folder that exists.\n")
    assert (box / ".env").read_text() == known


def test_ray_does_not_have_the_login_that_manages_logins(box: Path, services: dict[str, Any]) -> None:
    """What the login of the same migration may do, test_mlflow_login.py asks a server."""
    files = {Path(file["path"]).name for file in services["ray"]["env_file"]}
    given = "".join((box / "secrets" / name).read_text() for name in files)
    admin = re.findall(r"MLFLOW_AUTH_ADMIN_PASSWORD=(\S+)", (box / "secrets/mlflow.env").read_text())[0]
    assert "MLFLOW_TRACKING_USERNAME=metsweep" in given
    assert admin not in given
    values = yaml.safe_load((INFRA / "kubernetes/mlflow.values.yaml").read_text())
    assert services["migrate"]["command"][-1] == values["extraInitContainers"][0]["command"][-1]
