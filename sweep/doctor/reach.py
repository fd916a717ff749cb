"""Whether the databases that the settings name can be reached, and what they hold; makes none of them."""

from __future__ import annotations

import socket
import tempfile

from sweep.databases import damage_of, sqlite_file, will_be_made
from sweep.tracking.mlflow_client import place_of
from trainers.exceptions import TrackingError

SECONDS_TO_ANSWER = 5.0


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
    with sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool).connect() as connection:
        tables = set(sqlalchemy.inspect(connection).get_table_names())
        if not tables:
            return "empty: tables will be made"
        if not {"version_info", "alembic_version"} <= tables:
            raise TrackingError("its tables are not those of Optuna")
        schema = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
    open_storage(uri)
    return f"schema {schema}"
