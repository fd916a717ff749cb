"""Connects to MLflow: quiet, offline, and with an answer within seconds when it is not there."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sweep.redaction import without_password
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A sweep must not stand still for minutes behind a server that has gone away.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""How MLflow is used wherever the environment does not say otherwise."""

PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
SECONDS_TO_ANSWER = 5.0


def connect(tracking_uri: str) -> MlflowClient:
    """A client of MLflow's tracking server and registry at `tracking_uri`; makes the folder of an SQLite file.

    Also makes it this process's tracking URI: the registry of a database without a server looks models up there.

    Raises:
        TrackingError: nobody answers there, or the database cannot be opened.
    """
    os.environ |= {key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()}
    with explained(tracking_uri):
        _refuse_unreachable(tracking_uri)
        folder = sqlite_folder(tracking_uri)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        mlflow.set_tracking_uri(tracking_uri)
        client = mlflow.MlflowClient(tracking_uri, tracking_uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def explained(tracking_uri: str) -> Iterator[None]:
    """Turns MLflow's errors within the block into a TrackingError that says where MLflow is and what to do."""
    try:
        yield
    except (OSError, ImportError) as error:
        raise TrackingError(_message(tracking_uri, error)) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in {"mlflow", "requests", "urllib3", "sqlalchemy"}:
            raise
        raise TrackingError(_message(tracking_uri, error)) from None


def absolute(tracking_uri: str) -> str:
    """The same URI, good in any working directory: the path of an SQLite file made absolute."""
    scheme, separator, path = tracking_uri.partition(":///")
    return f"{scheme}:///{Path(path).absolute()}" if scheme.startswith("sqlite") and separator else tracking_uri


def sqlite_folder(tracking_uri: str) -> Path | None:
    """Folder of the database file of an SQLite URI; None for every other URI."""
    scheme, _, path = absolute(tracking_uri).partition(":///")
    return Path(path).parent if scheme.startswith("sqlite") else None


def _refuse_unreachable(tracking_uri: str) -> None:
    """MLflow's clients try for minutes; a plain connection tells in seconds."""
    parts = urlsplit(tracking_uri)
    port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname and port:
        socket.create_connection((parts.hostname, port), timeout=SECONDS_TO_ANSWER).close()


def _message(tracking_uri: str, error: Exception) -> str:
    password = urlsplit(tracking_uri).password
    text = (
        f"MLflow at {without_password(tracking_uri)} did not do what was asked: {error}. Start it there, correct "
        "MLFLOW_TRACKING_URI, or unset it to use mlflow.db in the working directory."
    )
    return text.replace(password, "***") if password else text
