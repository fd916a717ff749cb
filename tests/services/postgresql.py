"""A real PostgreSQL that tests may kill and start again, with databases for Optuna and for MLflow."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from infra.stack.credentials import Credentials
from infra.stack.postgresql import MLFLOW, OPTUNA, database_uri, postgresql
from infra.stack.service import free_ports, stop
from sweep.store.process import Process


class PostgreSQL:
    """One server on a free port of this machine, with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        credentials = Credentials()
        (port,) = free_ports(1)
        service = postgresql(folder, port, credentials)
        # A killed server leaves to the system what it has written; only a crash of the machine would lose it.
        self._service = replace(service, command=[*service.command, "-c", "fsync=off"])
        self.optuna, self.mlflow = (database_uri(port, name, credentials.postgresql) for name in (OPTUNA, MLFLOW))
        self._leader: Process | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._leader = self._service.start()
        self._service.wait_until_usable(self._leader)

    def kill(self) -> None:
        """End it at once, as a crash of its machine would."""
        if self._leader is not None:
            stop(self._leader, signal.SIGKILL)
            self._leader = None


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
