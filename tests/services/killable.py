"""A server that tests may kill and start again."""

from __future__ import annotations

import signal

from infra.stack.service import Service, stop
from sweep.store.process import Process
from tests.services.mortal import ends_with_this_process


class KillableServer:
    """One server of this machine, in a process group of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._leader: Process | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._leader = self._service.start()
        ends_with_this_process(self._leader)
        self._service.wait_until_usable(self._leader)

    def kill(self) -> None:
        """End it at once, as a crash of its machine would."""
        if self._leader is not None:
            stop(self._leader, signal.SIGKILL)
            self._leader = None
