"""Whether the databases that the settings name can be reached, and what they hold; makes none of them."""

from __future__ import annotations

import socket
import tempfile

from sweep.databases import damage_of, sqlite_file, will_be_made
from sweep.tracking.mlflow_client import TABLES, connect, explained, place_of
from trainers.exceptions import TrackingError

SECONDS_TO_ANSWER = 5.0
DATABASES = ("postgresql", "mysql", "mssql", "sqlite")
"""Kinds that MLflow keeps its runs in."""


def reach(uri: str) -> None:
    """Connect to a database's server; check the folder of an SQLite file that does not exist yet.

    Raises:
        OSError: the server does not answer, or the folder cannot be written.
        ValueError: the URI cannot be read.
        TrackingError: the URI does not name a server, or the file is damaged or not a database.
    """
    if (file := sqlite_file(uri)) is None:
        host, port = place_of(uri)
        if host and port:
            socket.create_connection((host, port), timeout=SECONDS_TO_ANSWER).close()
    elif not will_be_made(uri):
        if damage := damage_of(file):
            raise TrackingError(f"damaged: {damage}")
    else:
        with tempfile.TemporaryFile(dir=next(path for path in file.absolute().parents if path.exists())):
            pass


def mlflow_state(uri: str, *, registry: bool = False) -> str:
    """What MLflow has at a URI, in words; connects and logs in as a launch does, but makes no database and no table.

    Args:
        uri: of a server, a database, or what else MLflow takes.
        registry: whether it is a model registry only.

    Raises:
        OSError, SQLAlchemyError, ImportError: the database cannot be used.
        TrackingError: MLflow refuses the URI, its login or what the database holds.
    """
    if uri.partition(":")[0].partition("+")[0] in DATABASES:
        reach(uri)
        if will_be_made(uri):
            return "will be made"
        tables = _tables(uri)
        if not tables & TABLES:
            if "alembic_version" in tables:
                raise TrackingError("holds the tables of another program; MLflow needs a database of its own")
            return "tables will be made"
    elif registry and not uri.startswith("http"):
        from mlflow import MlflowClient

        with explained(uri):
            MlflowClient(registry_uri=uri).search_registered_models(max_results=1)
        return "accepted"
    connect(uri)
    return "accepted"


def optuna_tables(uri: str) -> str:
    """Optuna's tables in a database that answers, in words.

    Raises:
        SQLAlchemyError: the database refuses the login, or cannot be read.
        ImportError: the driver is not installed.
        TrackingError: the database is not Optuna's, or of another version.
    """
    import sqlalchemy

    from sweep.studies.optuna_study import open_storage

    if will_be_made(uri):
        return "will be made"
    tables = _tables(uri)
    if not tables:
        return "empty: tables will be made"
    if not {"version_info", "alembic_version"} <= tables:
        raise TrackingError("its tables are not those of Optuna")
    with sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool).connect() as connection:
        schema = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
    open_storage(uri)
    return f"schema {schema}"


def _tables(uri: str) -> set[str]:
    import sqlalchemy

    with sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool).connect() as connection:
        return set(sqlalchemy.inspect(connection).get_table_names())
