"""MLflow's tracking server and registry."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import requests

from infra.stack.service import HOST, Service, inherited_environment
from sweep.tracking.mlflow_client import ENVIRONMENT

USER = "metsweep"
"""Of a server with logins; who may do everything."""
LOGINS = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = {database}
# Every request has its login checked; with one worker a remembered login cannot be out of date.
auth_cache_ttl_seconds = 60
"""


def mlflow_server(
    folder: Path, port: int, database: str, artifacts: str, login: tuple[str, str] | None = None
) -> Service:
    """The server; usable once it answers a query.

    Args:
        folder: its working directory.
        port: on this machine.
        database: its URI, without a password.
        artifacts: URI of what clients send to the server.
        login: name and password for the query.
    """
    # With several workers and without uvloop every answer takes 40 ms more: asyncio leaves TCP_NODELAY unset.
    command = (
        sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1",
        "--backend-store-uri", database, "--artifacts-destination", artifacts,
    )  # fmt: skip
    address = f"http://{HOST}:{port}"

    def query() -> None:
        url = f"{address}/api/2.0/mlflow/experiments/search"
        requests.post(url, json={"max_results": 1}, auth=login, timeout=20).raise_for_status()

    return Service(
        name="MLflow",
        folder=folder,
        command=command,
        environment=inherited_environment(ENVIRONMENT, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}),
        address=address,
        check=query,
    )


def mlflow_server_with_logins(
    folder: Path,
    port: int,
    databases: tuple[str, str],
    artifacts: str,
    password: str,
    session_key: str,
    environment: Mapping[str, str],
) -> Service:
    """The same, refusing whoever has no login, and every Host that is not this machine.

    Args:
        folder: its working directory.
        port: on this machine.
        databases: URIs of the runs and of the logins, without a password.
        artifacts: URI of what clients send to the server.
        password: of `USER`.
        session_key: signs the forms of its pages.
        environment: more variables, e.g. keys of S3.
    """
    runs, logins = databases
    server = mlflow_server(folder, port, runs, artifacts, (USER, password))
    own = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "logins.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": session_key,
    }
    return replace(
        server,
        command=(*server.command, "--app-name", "basic-auth", "--allowed-hosts", f"{HOST}:{port},localhost:{port}"),
        environment={**server.environment, **own, **environment},
        prepare=lambda: (folder / "logins.ini").write_text(LOGINS.format(database=logins)),
    )
