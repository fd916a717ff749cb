"""Connects to MLflow: quiet, offline, and with an error within seconds if it is unreachable."""

from __future__ import annotations

import functools
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from sweep.databases import explaining, in_a_line, refuse_damaged, sqlite_file
from sweep.redaction import without_secrets
from sweep.store.s3_client import S3Options
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.entities import PagedList

T = TypeVar("T")


class TrackingOutageError(TrackingError):
    """MLflow does not answer, or not in time: the same call may succeed later."""


ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Settings of MLflow, unless the environment sets them."""

NEVER_TWICE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""Overrides the environment: MLflow's client would repeat a create_run whose answer was lost, and make two runs."""

PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
SECONDS_TO_ANSWER = 5.0


WRONG_FOR_GOOD = ("CERTIFICATE_VERIFY_FAILED", "not in a valid JSON format", "Invalid url")
"""Texts of MLflow's errors that have the code of a server in trouble, though waiting does not help."""
LIBRARIES = frozenset({"mlflow", "requests", "urllib3", "sqlalchemy", "alembic", "botocore", "boto3"})
"""Libraries that access MLflow, its database and its files."""
TABLES = frozenset(
    {"experiments", "runs", "tags", "params", "metrics", "latest_metrics", "registered_models", "model_versions"}
)
"""Some of those that MLflow makes in a database."""
RESTORE = (
    "Restore it from a copy, or move it away: `metsweep track STUDY` writes a study's runs anew, and `metsweep promote "
    "STUDY` a version; the champions' history is lost with it."
)
REFUSED_LOGIN = ("authentication failed", "does not exist", "Access denied", "Login failed")
"""Texts of a database's refusal of a name, a password or a database."""


def connect(tracking_uri: str) -> MlflowClient:
    """A client of MLflow's tracking server at `tracking_uri`, and of its registry unless MLFLOW_REGISTRY_URI names one.

    Makes the folder of an SQLite file.

    Also sets this process's tracking URI, where the registry of a database without a server looks models up.

    Raises:
        TrackingOutageError: MLflow does not answer.
        TrackingError: the URI is of an unknown kind, the login is refused, or the database cannot be opened.
    """
    os.environ |= {key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()} | NEVER_TWICE
    s3 = S3Options.here()
    if s3.endpoint is not None:  # MLflow knows S3's endpoint by a name of its own
        os.environ.setdefault("MLFLOW_S3_ENDPOINT_URL", s3.endpoint)
    if s3.on_write:
        os.environ.setdefault("MLFLOW_S3_UPLOAD_EXTRA_ARGS", json.dumps(s3.on_write))
    with explained(tracking_uri):
        _refuse_unreachable(tracking_uri)
        refuse_damaged("MLflow", tracking_uri, TABLES, RESTORE)
        if (file := sqlite_file(tracking_uri)) is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        mlflow.set_tracking_uri(tracking_uri)
        client = mlflow.MlflowClient(tracking_uri)
        client.search_experiments(max_results=1)
    return client


def explained(tracking_uri: str) -> AbstractContextManager[None]:
    """Turns MLflow's errors within the block into a TrackingError that says where MLflow is and what to do.

    It is a TrackingOutageError if the server cannot be reached, is too slow or is in trouble itself. An SQLite file has
    no server to wait for.
    """
    return explaining(LIBRARIES, functools.partial(_meaning, tracking_uri))


def every_page(search: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    """All that a search of MLflow finds; `search` takes the token of a page, None for the first."""
    token = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return


def place_of(uri: str) -> tuple[str | None, int | None]:
    """Host and port of a server, or of a database as SQLAlchemy reads its URI; None where a URI has none.

    Raises:
        TrackingError: the port is no number, or the URI is none.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in PORTS:
        return None, None
    if scheme.startswith("http"):
        try:
            return urlsplit(uri).hostname, urlsplit(uri).port or PORTS[scheme]
        except ValueError:
            raise TrackingError(
                f"The port of {without_secrets(uri)} is no number. Write / and # in a password as %2F and %23."
            ) from None
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):
        raise TrackingError(
            f"{without_secrets(uri)} is no URI of a database: dialect://user:password@host:port/name."
        ) from None
    return url.host, url.port or PORTS[scheme]


def _refuse_unreachable(tracking_uri: str) -> None:
    """MLflow's clients try for minutes; a plain connection, or a login to the database, fails within seconds."""
    host, port = place_of(tracking_uri)
    if not host or not port:
        return
    try:
        socket.create_connection((host, port), timeout=SECONDS_TO_ANSWER).close()
    except socket.gaierror:
        raise
    except OSError as error:
        raise TrackingOutageError(_message(tracking_uri, error)) from None
    if not tracking_uri.startswith("http"):
        import sqlalchemy

        engine = sqlalchemy.create_engine(tracking_uri, poolclass=sqlalchemy.NullPool)
        with engine.connect():
            pass


def _meaning(tracking_uri: str, error: Exception) -> TrackingError:
    outage = sqlite_file(tracking_uri) is None and _is_outage(error)
    return (TrackingOutageError if outage else TrackingError)(_message(tracking_uri, error))


def _is_outage(error: Exception) -> bool:
    """Whether the same call may succeed later: no connection, no answer in time, or an error of the server."""
    text = str(error)
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "MlflowException" in kinds:
        status = error.get_http_status_code()  # pyright: ignore[reportAttributeAccessIssue]
        return (status >= 500 or status == 429) and not any(sign in text for sign in WRONG_FOR_GOOD + REFUSED_LOGIN)
    if "OperationalError" in kinds:  # SQLAlchemy's
        return not any(sign in text for sign in REFUSED_LOGIN)
    return bool(kinds & {"HTTPClientError", "ConnectionError", "Timeout"})  # botocore's, requests'


def _message(tracking_uri: str, error: Exception) -> str:
    what = "could not be reached" if isinstance(error, ConnectionError | TimeoutError) else "did not do what was asked"
    return (
        f"MLflow at {without_secrets(tracking_uri)} {what}: "
        f"{in_a_line(error, tracking_uri, LIBRARIES)}. "
        "Start it there, correct MLFLOW_TRACKING_URI, or unset it to use mlflow.db in the working directory."
    )
