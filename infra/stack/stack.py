"""All servers of the stack, and what its folder records about them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from pydantic import ValidationError

from infra.stack import postgresql, ray_head, seaweedfs
from infra.stack.credentials import Credentials, credentials_of, write_private
from infra.stack.mlflow_server import USER
from infra.stack.ports import PORTS, SEAWEEDFS, USES, strangers
from infra.stack.servers import servers, user_of
from infra.stack.service import HOST, Service, StackError, family, free_ports, runs, stop
from infra.stack.variables import LOGINS, pointing
from sweep.engine.cluster import STARTS
from sweep.store.process import Process
from trainers.config import Config

FOLDERS = ("cache", "mlflow", "optuna-dashboard", "postgresql", "prometheus", "ray", "run", "seaweedfs")
USABLE, STOPPED = "usable", "stopped"
POINTED_AT = ("PostgreSQL", "SeaweedFS", "Ray", "MLflow")
"""Servers that `environment` points at; the others are pages for people."""


class Started(Config):
    """A server that was started."""

    leader: Process
    stop_signal: signal.Signals


class State(Config):
    """What the folder records; no secret."""

    ports: dict[str, int]
    """The same at every start, but for those that others use by then."""
    run: Path
    """Folder of Ray's sessions and of temporary files; `down` removes it."""
    started: dict[str, Started]
    """By the server's name."""


@dataclass(frozen=True)
class Status:
    """Of one server."""

    name: str
    address: str
    state: str
    """`USABLE`, `STOPPED`, or why a server that runs is not usable."""
    memory: int
    """Bytes of all its processes; what they share counts once."""


class Stack:
    """The stack of a folder; messages name commands with `option`, by which the user gave the folder."""

    def __init__(self, folder: Path, option: str = "") -> None:
        self.folder, self.option = folder, option
        self._state_file = folder / "state.json"
        self._credentials_file = folder / "credentials.json"

    def up(self, say: Callable[[str], None]) -> None:
        """Start what does not run, and return once every server is usable.

        Raises:
            StackError: a server cannot be started; the others go on.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # PostgreSQL's user passes through; all folders within are closed.
        self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        with self._alone():
            credentials = credentials_of(self._credentials_file)
            state = self._state() if self._state_file.exists() else self._fresh()
            if not state.run.exists():
                state = state.model_copy(update={"run": ray_head.folder_for_sockets(self.folder / "run")})
            (state.run / "tmp").mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.folder / "cache").mkdir(mode=0o700, exist_ok=True)
            state = self._on_free_ports(state, credentials, say)
            self._save(state)
            for wave in self._services(state, credentials):
                self._start(wave, state, credentials, say)

    def down(self, say: Callable[[str], None]) -> None:
        """End every server; their data stay."""
        with self._alone():
            state = self._state()
            for name, started in reversed(state.started.items()):
                if family(started.leader):
                    stop(started.leader, started.stop_signal)
                    say(f"{name} has ended.")
            seaweedfs.remove_sockets([state.ports[name] for name in SEAWEEDFS])
            shutil.rmtree(state.run, ignore_errors=True)
            state.started.clear()
            self._save(state)

    def delete(self) -> None:
        """Remove the data of a stack that is down, and nothing else that lies in its folder."""
        for name in FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for file in (self._credentials_file, self._state_file, self.folder / "lock"):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # the user's own files are in it
            self.folder.rmdir()

    def status(self) -> list[Status]:
        """Of every server, in the order of their start."""
        state, credentials = self._state(), credentials_of(self._credentials_file)
        listed = []
        for service in (service for wave in self._services(state, credentials) for service in wave):
            started = state.started.get(service.name)
            processes = family(started.leader) if started else []
            memory = sum(map(_memory, processes))
            listed.append(Status(service.name, service.address, _condition(service, state, credentials), memory))
        return listed

    def environment(self) -> dict[str, str | None]:
        """Variables that point metsweep, and clients of each server, at the stack; None = to be unset.

        Raises:
            StackError: a server that they point at does not run, or `up` or `down` is at work.
        """
        self._state()  # a folder that holds no stack gets no lock
        with self._alone(patience=2.0):  # another `env` takes less
            state, credentials = self._state(), credentials_of(self._credentials_file)
        if not any(_running(state, name) for name in state.started):
            raise StackError(f"The stack in {self.folder} is down. Start it: metsweep stack up{self.option}")
        if stopped := [name for name in POINTED_AT if not _running(state, name)]:
            raise StackError(
                f"Stopped in the stack in {self.folder}: {', '.join(stopped)}. No variable is set. Start the servers: "
                f"metsweep stack up{self.option}"
            )
        s3 = user_of(credentials).environment(state.ports["seaweedfs-s3"])
        ports = state.ports
        places = {
            "store": f"s3://{seaweedfs.BUCKET}/store",
            "cache": str(self.folder / "cache"),
            "tracking_uri": f"http://{HOST}:{ports['mlflow']}",
            "optuna_storage": postgresql.database_uri(ports["postgresql"], postgresql.OPTUNA, credentials.postgresql),
            "ray_address": f"{HOST}:{ports['ray']}",
            "ray_token_file": str(ray_head.token_file(self.folder / "ray")),
            "s3_endpoint": s3["AWS_ENDPOINT_URL_S3"],
            "s3_region": seaweedfs.REGION,
        }
        return {
            **dict.fromkeys(LOGINS),
            **pointing(places),
            **s3,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": credentials.mlflow,
            "MLFLOW_S3_ENDPOINT_URL": s3["AWS_ENDPOINT_URL_S3"],
            **ray_head.access(self.folder / "ray"),
        }

    def _services(self, state: State, credentials: Credentials) -> list[list[Service]]:
        """In waves: each needs those before."""
        return servers(self.folder, state.run, state.ports, credentials)

    def _on_free_ports(self, state: State, credentials: Credentials, say: Callable[[str], None]) -> State:
        """The state with other ports where others listen on those of servers that do not run.

        Servers that run and were started with those ports are ended, to be started with the new ones.
        """
        names = [service.name for wave in self._services(state, credentials) for service in wave]
        taken: dict[str, str] = {}
        for name in names:
            if not _running(state, name):
                started = state.started.get(name)
                taken |= strangers(name, started and started.leader, state.ports)
        if not taken:
            return state
        moved = dict(zip(taken, free_ports(len(taken), but=state.ports.values()), strict=True))
        for port, why in taken.items():
            say(f"{why}; {moved[port]} is used instead.")
        seaweedfs.remove_sockets([state.ports[name] for name in SEAWEEDFS])
        for name in names:
            if USES.get(name, set()) & moved.keys() and _running(state, name):
                stop(state.started[name].leader, state.started[name].stop_signal)
                say(f"{name} has ended, to be started with the new port.")
        return state.model_copy(update={"ports": state.ports | moved})

    def _start(
        self, wave: Sequence[Service], state: State, credentials: Credentials, say: Callable[[str], None]
    ) -> None:
        """Start at once what does not run, then wait for each."""
        for service in wave:
            if not _running(state, service.name):
                self._begin(service, state)
        for service in wave:
            for attempt in range(1, STARTS + 1):
                try:
                    service.wait_until_usable(state.started[service.name].leader, credentials.masked)
                    break
                except StackError as error:
                    leader = state.started[service.name].leader
                    ended = not runs(leader)
                    if ended and (others := strangers(service.name, leader, state.ports)):
                        raise StackError(
                            f"{error}\n{'; '.join(others.values())}. `metsweep stack up{self.option}` chooses another "
                            "port."
                        ) from None
                    if attempt == STARTS or not ended:
                        raise StackError(
                            f"{error}\nServers that run go on. `metsweep stack up{self.option}` starts the others "
                            f"again, `metsweep stack down{self.option}` ends all. Ray ends where a busy machine needs "
                            "more than 30 s for it."
                        ) from None
                    # Ray ends if it is not up within 30 s, which a busy machine may need.
                    say(f"{service.name} ended before it was usable; attempt {attempt + 1} of {STARTS} begins.")
                    self._begin(service, state)
            say(f"{service.name} is usable: {service.address}")

    def _begin(self, service: Service, state: State) -> None:
        if started := state.started.get(service.name):  # its leader has ended; others of its processes may be alive
            stop(started.leader, started.stop_signal)
        state.started[service.name] = Started(leader=service.start(), stop_signal=service.stop_signal)
        self._save(state)

    def _fresh(self) -> State:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        return State(ports=ports, run=ray_head.folder_for_sockets(self.folder / "run"), started={})

    def _state(self) -> State:
        try:
            return State.model_validate_json(self._state_file.read_text())
        except FileNotFoundError:
            raise StackError(
                f"{self.folder} holds no stack. Start a stack with `metsweep stack up`, or name its folder with --dir."
            ) from None
        except ValidationError as error:
            raise StackError(f"{self._state_file} is damaged: {error}") from None

    def _save(self, state: State) -> None:
        write_private(self._state_file, state.model_dump_json(indent=2))

    @contextmanager
    def _alone(self, patience: float = 0) -> Iterator[None]:
        """Refuse to work beside another command on the same folder that takes longer than `patience` seconds."""
        if not self.folder.is_dir():
            self._state()
        try:
            with FileLock(self.folder / "lock", timeout=patience):
                yield
        except Timeout:
            raise StackError(f"Another `metsweep stack` command is at work in {self.folder}. Wait for it.") from None


def _running(state: State, name: str) -> bool:
    """Whether a server runs, by its name."""
    return name in state.started and runs(state.started[name].leader)


def _condition(service: Service, state: State, credentials: Credentials) -> str:
    if not _running(state, service.name):
        return STOPPED
    try:
        service.check()
    except Exception as error:  # each client has errors of its own
        return credentials.masked(f"runs, but: {error}")
    return USABLE


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0
