"""One server of this machine: how it starts, when it is usable, and how it ends."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psutil

from sweep.redaction import without_secrets
from sweep.store.process import Process
from trainers.exceptions import MetsweepError

HOST = "127.0.0.1"
SECONDS_TO_START = 180.0
"""Twenty times what the slowest needs on two free cores."""
LINES_SHOWN = 15
GRPC_OFFSET = 10_000
"""SeaweedFS opens each port a second time that much higher."""
LOWEST_PORT, PORTS = 20_000, 2_752
"""Above the ports of Ray's workers; and the twins lie below those that the system gives to clients."""
OF_OTHER_SERVERS = ("AWS_", "GF_", "METSWEEP_", "MLFLOW_", "OPTUNA_", "PG", "RAY_", "WEED_")
"""Variables that name a user's other servers and their keys begin so."""


class StackError(MetsweepError):
    """A server of the stack cannot be started, stopped or found."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A server; its working directory is a folder of its own, where its log lies."""

    name: str
    folder: Path
    command: Sequence[str]
    """Holds no secret: every user of the machine can read it."""
    environment: Mapping[str, str]
    """All of it."""
    address: str
    """For people."""
    check: Callable[[], object]
    """Raises an error unless the server does its work; prepares what its users need, e.g. a bucket."""
    prepare: Callable[[], object] = lambda: None
    """Makes what the server needs in its folder; also when it was made before."""
    user: str | None = None
    """Who runs it; None = this user."""
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / "log"

    def start(self) -> Process:
        """Begin, in a session of its own, which outlives the calling process."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.prepare()
        with self.log.open("ab") as log:
            leader = subprocess.Popen(
                self.command, env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, user=self.user, group=self.user and _group_of(self.user),
                extra_groups=self.user and [],
            )  # fmt: skip
        return Process.of(leader.pid)

    def wait_until_usable(self, leader: Process, masked: Callable[[str], str] = without_secrets) -> None:
        """Return once the check passes.

        Args:
            leader: what `start` returned.
            masked: takes secrets out of a text.

        Raises:
            StackError: the server ended or does not become usable; names the reason and the log's last lines.
        """
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                self.check()
                return
            except Exception as error:  # each client has errors of its own
                if not leader.is_gone and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                why = "ended" if leader.is_gone else f"is not usable ({error}); try down, then up"
            lines = "\n  ".join([f"{self.name} {why}. The last lines of {self.log}:", *_last_lines(self.log)])
            raise StackError(masked(lines))


def runs(process: Process | None) -> bool:
    """Whether a process that was recorded is alive on this machine."""
    return process is not None and process.machine == Process.this().machine and not process.is_gone


def family(leader: Process) -> list[psutil.Process]:
    """A server's processes: the leader of its session, whoever belongs to that session, and their descendants."""
    reused = psutil.pid_exists(leader.pid) and Process.of(leader.pid) != leader
    if reused or leader.machine != Process.this().machine:
        return []
    members = set[psutil.Process]()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == leader.pid:
                members |= {process, *process.children(recursive=True)}
    return list(filter(is_alive, members))


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that has ended but that its parent has not asked about does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(leader: Process, number: signal.Signals, patience: float = 20.0) -> None:
    """End a server: its leader with a signal that lets it end the others, what is left after `patience` by force."""
    members = family(leader)
    for process in members:
        if process.pid == leader.pid or number == signal.SIGKILL:
            _send(process, number)
    for process in _left_after(patience, members):
        _send(process, signal.SIGKILL)
    _left_after(patience, members)


def inherited_environment(*own: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what names other servers of its user, and with variables of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OF_OTHER_SERVERS)}
    return dict(ChainMap(*map(dict, reversed(own)), inherited))


def free_ports(count: int, but: Collection[int] = ()) -> list[int]:
    """Ports of this machine that are free, with their twins; none of `but`."""
    # Processes may look at the same time, and use the ports later: each look begins elsewhere.
    first = secrets.randbelow(PORTS)
    candidates = (LOWEST_PORT + (first + step) % PORTS for step in range(PORTS))
    free = (port for port in candidates if port not in but and _is_free(port))
    ports = list(islice(free, count))
    if len(ports) < count:
        raise StackError(f"Fewer than {count} ports from {LOWEST_PORT} to {LOWEST_PORT + PORTS} are free.")
    return ports


def _left_after(seconds: float, processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Wait until all have ended; those that have not after some time."""
    deadline = time.monotonic() + seconds
    while (left := list(filter(is_alive, processes))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _is_free(port: int) -> bool:
    with socket.socket() as probe, socket.socket() as twin:
        try:
            probe.bind((HOST, port))
            twin.bind((HOST, port + GRPC_OFFSET))
        except OSError:
            return False
    return True


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _last_lines(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        lines = file.read().decode(errors="replace").splitlines()
    # The last line of a traceback says what went wrong, its frames nothing to who runs the server.
    return [line for line in lines if not line.startswith((" ", "Traceback (", "│", "╭", "╰"))][-LINES_SHOWN:]
