"""The image: its recipe, what may reach a layer, its packages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

from tests.infra.pins import pinned
from tests.source_files import ROOT

RECIPE = ROOT / "infra/image/Dockerfile"
BIN = Path(sys.executable).parent
SECRETS = (
    ".env", "metsweep.toml", "sweep/.env", "infra/my/ray/auth_token", "infra/my/key", "infra/ray.pem", "mlflow.db",
    "sweep/optuna.db", "cohort/cohort.json", "metsweep-store/x", ".git/config", "infra/stack/.credentials",
    "infra/compose/secrets/postgres", "infra/compose/data/postgres/x",
)  # fmt: skip
"""Files that lie about in a working folder and must not reach the build."""


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"} | variables
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_hadolint_accepts_the_recipe() -> None:
    done = run("hadolint", RECIPE)
    assert done.returncode == 0, done.stdout


def test_hadolint_sees_a_fault(tmp_path: Path) -> None:
    recipe = tmp_path / "Dockerfile"
    recipe.write_text(RECIPE.read_text().replace("--no-install-recommends ", ""))
    assert "DL3015" in run("hadolint", recipe).stdout


def test_only_the_rooms_reach_the_build(tmp_path: Path) -> None:
    for name in (*SECRETS, "sweep/cli/app.py", "pyproject.toml", "infra/image/sbom.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sent = {name for name in exclude_paths(str(tmp_path), ignored()) if (tmp_path / name).is_file()}
    assert sent == {"sweep/cli/app.py", "pyproject.toml", "infra/image/sbom.sh"}


def test_what_is_built_from_reaches_the_build() -> None:
    sent = exclude_paths(str(ROOT), ignored())
    needed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rooms = ("dashboards/", "infra/", "search_spaces/", "sweep/", "trainers/")
    names = {name for name in needed.splitlines() if name.startswith(rooms) or "/" not in name}
    left_out = {Path(name).name for name in names - sent if not name.endswith(".env")}
    assert left_out == {".gitignore", "Makefile"}


def ignored() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_no_secret_is_an_argument_or_a_variable_of_the_build() -> None:
    names = re.findall(r"(?:ARG |ENV |\s)([A-Z_]+)=", RECIPE.read_text())
    assert "DEVICE" in names
    assert not [name for name in names if re.search("KEY|PASSWORD|SECRET|TOKEN|CREDENTIAL", name)]


def test_the_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    users = re.findall(r"^USER (.*)$", RECIPE.read_text(), re.MULTILINE)
    assert users == ["1000:1000"]


def test_the_recipe_installs_the_lock() -> None:
    """The recipe's own command, asked of the environment that `make` has installed from the lock."""
    line = next(line for line in RECIPE.read_text().splitlines() if line.lstrip().startswith("cuda)"))
    command = line.split(")", 1)[1].split(";;")[0].replace("/opt/metsweep", str(BIN.parent)).split()
    done = run(*command, "--offline", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "Would make no changes" in done.stderr


@pytest.mark.slow
def test_the_list_of_packages_is_whole(tmp_path: Path) -> None:
    done = run(ROOT / "infra/image/sbom.sh", sys.executable, tmp_path / "sbom.json")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "sbom.json").read_text())
    listed = {re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"] for item in content["components"]}
    assert {name for name, version in pinned().items() if listed.get(name) != version} <= {"pip"}
    assert not {"timestamp", "serialNumber"} & {*content, *content["metadata"]}, "differs from build to build"


def test_the_list_needs_an_environment_and_a_file() -> None:
    done = run(ROOT / "infra/image/sbom.sh")
    assert done.returncode == 2
    assert "Usage" in done.stderr


@pytest.mark.parametrize("folder", ["/tmp", "/home/metsweep", "/dev/shm"])
def test_the_readme_names_the_writable_folders(folder: str) -> None:
    assert f"`{folder}`" in (ROOT / "infra/image/README.md").read_text()
