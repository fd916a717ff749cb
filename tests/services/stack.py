"""`metsweep stack` as a user runs it, and what lies behind its servers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from infra.stack.credentials import Credentials
from infra.stack.seaweedfs import Identity
from infra.stack.service import HOST, family
from infra.stack.stack import State
from tests.infra.tools import TOOLS
from tests.source_files import ROOT

PLACES = ("AWS_", "METSWEEP_", "MLFLOW_", "OPTUNA_", "RAY_")


def metsweep(
    home: Path, *arguments: str, environment: dict[str, str] | None = None, status: int = 0, patient: bool = False
) -> str:
    """Run a command as a user would, on a machine of nothing else; returns stdout, then stderr.

    Args:
        home: the user's home, where the command runs.
        environment: more variables.
        status: its exit status.
        patient: whether a Ray that it starts may take minutes.
    """
    module = "tests.services.patient_metsweep" if patient else "sweep.cli"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PLACES)}
    own = {
        "HOME": str(home),
        "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=home, env=inherited | own | (environment or {}), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def state(folder: Path) -> State:
    return State.model_validate_json((folder / "state.json").read_text())


def listed(folder: Path, status: int = 0) -> dict[str, str]:
    """What `status` says of each server."""
    servers = json.loads(metsweep(folder.parent, "stack", "status", "--json", "--dir", str(folder), status=status))
    return {server["name"]: server["state"] for server in servers}


def processes(folder: Path) -> list[psutil.Process]:
    return [process for started in state(folder).started.values() for process in family(started.leader)]


def of_env(folder: Path) -> dict[str, str]:
    """What a shell has after `eval "$(metsweep stack env)"`."""
    printed = metsweep(folder.parent, "stack", "env", "--dir", str(folder))
    dirty = {"AWS_PROFILE": "hospital", "RAY_AUTH_TOKEN": "of another cluster", "PATH": os.environ["PATH"]}
    shell = subprocess.run(
        ["bash", "-c", f"eval {shlex.quote(printed)}; env -0"], env=dirty, check=True, capture_output=True, text=True
    )
    after = dict(line.split("=", 1) for line in shell.stdout.strip("\0").split("\0"))
    return {name: value for name, value in after.items() if name.startswith(PLACES)}


def database(folder: Path, credentials: Credentials, name: str, query: str) -> list[Any]:
    port = state(folder).ports["postgresql"]
    connection = psycopg2.connect(
        host=HOST, port=port, user="metsweep", password=credentials.postgresql, dbname=name, connect_timeout=5
    )
    try:
        cursor = connection.cursor()
        cursor.execute(query)
        return [row[0] for row in cursor.fetchall()]
    finally:
        connection.close()


def user(credentials: Credentials) -> Identity:
    return Identity.user(credentials.s3_key, credentials.s3_secret)
