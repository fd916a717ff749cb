"""A real PostgreSQL that tests may kill and start again, with databases for Optuna and for MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from infra.stack.credentials import Credentials
from infra.stack.postgresql import MLFLOW, OPTUNA, database_uri, postgresql
from infra.stack.service import free_ports
from tests.services.killable import KillableServer


class PostgreSQL(KillableServer):
    """One server on a free port of this machine, with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        credentials = Credentials()
        (port,) = free_ports(1)
        service = postgresql(folder, port, credentials)
        # A killed server leaves to the system what it has written; only a crash of the machine would lose it.
        super().__init__(replace(service, command=[*service.command, "-c", "fsync=off"]))
        self.optuna, self.mlflow = (database_uri(port, name, credentials.postgresql) for name in (OPTUNA, MLFLOW))


@contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    """A server that is gone after the block, with its folder."""
    # Its user is not root, and may enter no folder of pytest's.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        server = PostgreSQL(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
