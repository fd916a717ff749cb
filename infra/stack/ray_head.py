"""The head of a Ray cluster, with its dashboard, on all of this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import requests

from infra.stack.credentials import write_private
from infra.stack.service import HOST, Service, StackError, inherited_environment
from sweep.engine.local_ray import ANYWHERE, LONGEST_SOCKET

SESSIONS = "ray"
LONGEST_NAME = f"{SESSIONS}/session_2026-01-01_00-00-00_000000_4194304/sockets/dash_TaskEventsHead"
"""Of the sockets that Ray and its dashboard open in their folder."""
PORTS = {
    "ray": "--port",
    "ray-dashboard": "--dashboard-port",
    "ray-client": "--ray-client-server-port",
    "ray-agent": "--dashboard-agent-listen-port",
    "ray-metrics": "--metrics-export-port",
}
"""Name of a port -> option of `ray start`."""


def ray_head(
    folder: Path, sessions: Path, ports: Mapping[str, int], token: str, environment: Mapping[str, str]
) -> Service:
    """The server; usable once its node is alive.

    Args:
        folder: its working directory; also holds the token.
        sessions: where Ray keeps sockets and logs.
        ports: those of `PORTS`, among others.
        token: of whoever connects.
        environment: more variables, which tasks inherit, e.g. keys of S3.
    """
    command = (
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
        f"--node-ip-address={HOST}", "--include-dashboard=true", f"--dashboard-host={HOST}", f"--temp-dir={sessions}",
        *(f"{option}={ports[name]}" for name, option in PORTS.items()),
    )  # fmt: skip
    dashboard = f"http://{HOST}:{ports['ray-dashboard']}"

    def see_node_alive() -> None:
        login = {"Authorization": f"Bearer {token}"}
        answer = requests.get(f"{dashboard}/nodes?view=summary", headers=login, timeout=20)
        answer.raise_for_status()
        states = [node["raylet"]["state"] for node in answer.json()["data"]["summary"]]
        if states != ["ALIVE"]:
            raise StackError(f"states of its nodes: {states}")

    return Service(
        name="Ray",
        folder=folder,
        command=command,
        environment=inherited_environment(access(folder), environment),
        address=f"{HOST}:{ports['ray']}, dashboard {dashboard}",
        check=see_node_alive,
        prepare=lambda: write_private(token_file(folder), token),
    )


def token_file(folder: Path) -> Path:
    """Where the token lies."""
    return folder / "token"


def access(folder: Path) -> dict[str, str]:
    """What a process of the cluster, and one that connects to it, has in its environment."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file(folder))}


def folder_for_sockets(folder: Path) -> Path:
    """`folder`, or a folder elsewhere if the paths of sockets in it would be too long; only this user may enter.

    Ray opens its folder of sessions to everyone: that one lies within.
    """
    if len(os.fsencode(folder / LONGEST_NAME)) <= LONGEST_SOCKET:
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder
    return Path(tempfile.mkdtemp(prefix="metsweep-stack-", dir=ANYWHERE))
