"""Identifies a process among all others, and whether it has ended."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from trainers.config import Config


class Process(Config):
    """A process on one machine, unambiguous also after a restart of the machine or a reuse of its number."""

    host: str
    """Name of its machine, for people."""
    machine: str
    """Boot and process namespace of `pid`; empty where the system does not provide them."""
    pid: int
    """Its number."""
    started: int
    """When the process began, clock ticks since boot: setting a clock does not change it."""

    def __str__(self) -> str:
        """For people."""
        return f"{self.host}, process {self.pid}"

    @staticmethod
    def this() -> Process:
        """The calling process."""
        return Process.of(os.getpid())

    @staticmethod
    def of(pid: int) -> Process:
        """A process of this machine."""
        _, started = _state_and_start(pid) or ("", 0)
        return Process(host=platform.node(), machine=_machine(), pid=pid, started=started)

    @property
    def is_gone(self) -> bool:
        """Whether the process has certainly ended; False where that cannot be determined from here."""
        if not self.machine or self.machine != _machine():
            return False
        now = _state_and_start(self.pid)
        return now is None or now[0] in "ZX" or now[1] != self.started


@cache
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _state_and_start(pid: int) -> tuple[str, int] | None:
    """State letter and start of a process (proc(5), fields 3 and 22); None if it does not exist."""
    try:
        # The name before it, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])
