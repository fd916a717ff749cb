"""A real `mlflow server` that tests may kill, freeze and start again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.stack.mlflow_server import mlflow_server as service_of
from infra.stack.service import free_ports
from tests.services.killable import KillableServer


class MLflowServer(KillableServer):
    """One worker on a free port of this machine, in a process group of its own.

    Args:
        folder: its working directory.
        database: URI of its runs; empty = the SQLite file of `folder`.
    """

    def __init__(self, folder: Path, database: str = "") -> None:
        self.folder = folder
        self.database = database or f"sqlite:///{folder / 'mlflow.db'}"
        (port,) = free_ports(1)
        super().__init__(service_of(folder, port, self.database, str(folder / "artifacts")))
        self.uri = self._service.address

    def freeze(self) -> None:
        """Let it take connections but answer none."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, with what came meanwhile."""
        self._signal(signal.SIGCONT)

    def requests(self) -> list[str]:
        """Method and path of every request that it answered."""
        lines = self._service.log.read_text().splitlines()
        return [line.split('"')[1].rsplit(" ", 1)[0] for line in lines if "HTTP/1.1" in line and '"' in line]

    def _signal(self, number: int) -> None:
        if self._leader is None:
            raise RuntimeError("start() comes first")
        os.killpg(self._leader.pid, number)


@contextmanager
def mlflow_server(folder: Path, database: str = "") -> Iterator[MLflowServer]:
    """A server that is not started yet, and is gone after the block."""
    folder.mkdir(parents=True, exist_ok=True)
    server = MLflowServer(folder, database)
    try:
        yield server
    finally:
        server.kill()
