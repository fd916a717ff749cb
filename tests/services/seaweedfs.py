"""A real S3 server for the tests, which they may stop, freeze and start again: SeaweedFS."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra.stack.seaweedfs import BUCKET, Identity, remove_sockets, seaweedfs
from infra.stack.service import free_ports, stop
from sweep.store.process import Process
from tests.services.mortal import ends_with_this_process

__all__ = ["ACCESS_KEY", "BUCKET", "READER_KEY", "SECRET_KEY", "SeaweedFS"]
ACCESS_KEY, SECRET_KEY = "testkey", "testsecret123"
READER_KEY = "readerkey"
"""Its secret is the same; it may read and list alone."""
ADMIN, READER = Identity.admin(ACCESS_KEY, SECRET_KEY), Identity("reader", READER_KEY, SECRET_KEY, ("Read", "List"))


@dataclass
class SeaweedFS:
    """One server on this machine with its data in a folder; it may be stopped and started again."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: free_ports(4))
    _leader: Process | None = None

    @property
    def endpoint(self) -> str:
        return self.environment["AWS_ENDPOINT_URL_S3"]

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets to use it."""
        return ADMIN.environment(self.ports[3])

    def client(self) -> Any:
        """A client of the test's own, beside the store's."""
        return ADMIN.client(self.ports[3])

    def start(self) -> None:
        """Start it and wait until it takes an object."""
        service = seaweedfs(self.folder, self.ports, ADMIN, READER)
        service = replace(service, environment={**service.environment, "WEED_S3_SSE_KEY": "of the tests"})
        self._leader = service.start()
        ends_with_this_process(self._leader)
        service.wait_until_usable(self._leader)

    def kill(self) -> None:
        """kill -9: a clean stop takes 17 s and more, and what it has acknowledged is safe."""
        if self._leader is not None:
            stop(self._leader, signal.SIGKILL)
            remove_sockets(self.ports)
            self._leader = None

    def freeze(self) -> None:
        """Nobody answers, though connections open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._leader is not None
        os.kill(self._leader.pid, number)
