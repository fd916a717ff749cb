"""A real `mlflow server` that tests may kill, freeze and start again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from sweep.tracking.mlflow_client import ENVIRONMENT


class MLflowServer:
    """One worker on a free port of this machine, on the SQLite file of `folder`, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = f"sqlite:///{folder / 'mlflow.db'}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = (
            "--backend-store-uri", self.database, "--artifacts-destination", str(self.folder / "artifacts"),
            "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1",
        )  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *arguments],
                env=os.environ | ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "server.log").read_text())
            time.sleep(0.2)

    def kill(self) -> None:
        """End it at once, as a crash of its machine would."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it take connections but answer none."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, with what came meanwhile."""
        self._signal(signal.SIGCONT)

    def requests(self) -> list[str]:
        """Method and path of every request that it answered."""
        lines = (self.folder / "server.log").read_text().splitlines()
        return [line.split('"')[1].rsplit(" ", 1)[0] for line in lines if "HTTP/1.1" in line and '"' in line]

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise RuntimeError("start() comes first")
        os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=2).ok
        except requests.RequestException:
            return False


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MLflowServer]:
    """A server that is not started yet, and is gone after the block."""
    folder.mkdir(parents=True, exist_ok=True)
    server = MLflowServer(folder)
    try:
        yield server
    finally:
        server.kill()
