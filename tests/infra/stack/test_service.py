"""Starting, watching and ending a server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from infra.stack.credentials import Credentials, credentials_of
from infra.stack.ports import PORTS
from infra.stack.service import (
    GRPC_OFFSET,
    OF_OTHER_SERVERS,
    Service,
    StackError,
    family,
    free_ports,
    inherited_environment,
    is_alive,
    runs,
    stop,
)
from infra.stack.stack import POINTED_AT, Stack, Started, State
from infra.stack.variables import VARIABLES
from sweep.cli import main
from sweep.store.process import Process

ENDLESS = (
    "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); print('begun', flush=True); time.sleep(600)"
)


def service(folder: Path, code: str) -> Service:
    """A server that is usable once its log has the word `begun`."""

    def check() -> None:
        if "begun" not in (folder / "log").read_text():
            raise RuntimeError("it has not begun")

    command = (sys.executable, "-c", code)
    return Service(name="It", folder=folder, command=command, environment=os.environ, address="nowhere", check=check)


def test_a_server_outlives_its_starter_and_ends_with_all_its_processes(tmp_path: Path) -> None:
    starting = service(tmp_path / "its", ENDLESS)
    leader = starting.start()
    starting.wait_until_usable(leader)
    members = family(leader)
    assert len(members) == 2
    assert runs(leader)
    assert os.getsid(leader.pid) == leader.pid
    os.kill(leader.pid, signal.SIGKILL)
    while runs(leader):
        time.sleep(0.01)
    (orphan,) = family(leader)
    stop(leader, signal.SIGTERM, patience=0.1)
    assert not is_alive(orphan)
    assert family(leader) == []


def test_a_server_that_ends_at_first_is_started_again_and_up_says_so(tmp_path: Path) -> None:
    code = """
import pathlib, sys, time
tried = pathlib.Path("tried")
if not tried.exists():
    tried.touch()
    sys.exit(1)
print("begun", flush=True)
time.sleep(600)
"""
    state, said = State(ports={}, run=tmp_path, started={}), []
    Stack(tmp_path)._start([service(tmp_path / "its", code)], state, Credentials(), said.append)
    stop(state.started["It"].leader, signal.SIGKILL)
    assert said == ["It ended before it was usable; attempt 2 of 4 begins.", "It is usable: nowhere"]
    with pytest.raises(StackError, match=r"It ended\. The last lines of [^`]*`metsweep stack up` starts the others"):
        Stack(tmp_path)._start(
            [service(tmp_path / "other", "")], state.model_copy(update={"started": {}}), Credentials(), print
        )


def test_another_process_with_the_number_of_a_server_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as other:
        assert [one.pid for one in family(Process.of(other.pid))] == [other.pid]
        earlier = Process.of(other.pid).model_copy(update={"started": 1})
        assert family(earlier) == []
        stop(earlier, signal.SIGKILL)
        assert other.poll() is None
        other.kill()
    assert family(Process.this().model_copy(update={"machine": "before the restart"})) == []


def test_a_server_that_ends_is_reported_with_its_last_lines_and_without_secrets(tmp_path: Path) -> None:
    credentials = Credentials()
    failing = service(tmp_path / "its", f"print('first'); raise SystemExit('no {credentials.mlflow} given')")
    leader = failing.start()
    with pytest.raises(StackError, match=r"It ended\. The last lines of .*/its/log:") as raised:
        failing.wait_until_usable(leader, credentials.masked)
    assert credentials.mlflow not in str(raised.value)
    assert "no *** given" in str(raised.value)


def test_servers_see_nothing_of_a_users_other_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "hospital")
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    monkeypatch.setenv("KEPT", "yes")
    environment = inherited_environment({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token"})
    assert "AWS_PROFILE" not in environment
    assert "RAY_ADDRESS" not in environment
    assert (environment["KEPT"], environment["RAY_AUTH_MODE"]) == ("yes", "token")


def test_ports_are_free_and_different() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert {20_000 <= port < 22_752 for port in ports} == {True}


def test_credentials_are_made_once_for_this_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    made = credentials_of(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert credentials_of(file) == made
    assert len(set(made.model_dump().values())) == len(Credentials.model_fields)
    assert {len(secret) for secret in made.model_dump().values()} == {48}
    file.write_text('{"mlflow": "half')
    with pytest.raises(StackError, match=r"credentials\.json is damaged") as raised:
        credentials_of(file)
    assert "half" not in str(raised.value)


def test_two_commands_do_not_work_on_one_stack(tmp_path: Path) -> None:
    first, second = Stack(tmp_path), Stack(tmp_path)
    with first._alone(), pytest.raises(StackError, match="Another `metsweep stack` command"):
        second.down(print)


def test_a_shell_forgets_a_stack_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    option = ("--dir", str(tmp_path))
    ports = {name: 20_000 + number for number, name in enumerate(PORTS)}
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as server:
        started = Started(leader=Process.of(server.pid), stop_signal=signal.SIGKILL)
        (tmp_path / "run").mkdir()
        state = State(ports=ports, run=tmp_path / "run", started=dict.fromkeys(POINTED_AT, started))
        (tmp_path / "state.json").write_text(state.model_dump_json())
        assert main(["stack", "env", *option]) == 0
        set_here = capfd.readouterr().out
        assert main(["stack", "down", *option]) == 0
        assert "--unset" not in capfd.readouterr().out
        monkeypatch.setenv("METSWEEP_CACHE", str(tmp_path / "cache"))
        assert main(["stack", "down", *option]) == 0
        assert 'eval "$(metsweep stack env --unset)"' in capfd.readouterr().out
    assert main(["stack", "env", *option]) == 2
    capfd.readouterr()
    assert main(["stack", "env", "--unset", *option]) == 0
    unset = capfd.readouterr().out
    shell = subprocess.run(
        ["bash", "-c", f"{set_here}\nenv\n{unset}\necho then\nenv"], env={}, capture_output=True, text=True
    )
    before, _, after = shell.stdout.partition("then\n")
    set_names = {line.partition("=")[0] for line in before.splitlines() if line.startswith(OF_OTHER_SERVERS)}
    assert {"METSWEEP_STORE", "RAY_ADDRESS", "AWS_SECRET_ACCESS_KEY"} <= set_names <= set(VARIABLES)
    assert not [line for line in after.splitlines() if line.startswith(OF_OTHER_SERVERS)]


@pytest.mark.parametrize("taken", [True, False])
def test_a_server_that_cannot_start_is_reported_with_what_to_do(tmp_path: Path, taken: bool) -> None:
    stack = Stack(tmp_path)
    failing = replace(service(tmp_path / "its", "import nothing_of_that_name"), name="MLflow")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1] if taken else 1
        state = State(ports={"mlflow": port}, run=tmp_path, started={})
        with pytest.raises(StackError) as raised:
            stack._start([failing], state, Credentials(), print)
    said = str(raised.value)
    assert "No module named 'nothing_of_that_name'" in said
    assert "Traceback" not in said
    assert 'File "' not in said
    if taken:
        assert f"Port {port} of MLflow is used by {psutil.Process().name()} (process {os.getpid()})." in said
        assert "`metsweep stack up` chooses another port." in said
    else:
        assert "`metsweep stack up` starts the others again" in said
        assert "a busy machine needs more than 30 s" in said


def test_a_port_that_another_program_has_taken_is_given_up_with_the_servers_that_use_it(tmp_path: Path) -> None:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    twin = ports["seaweedfs-filer"] + GRPC_OFFSET
    said: list[str] = []
    with (
        socket.create_server(("127.0.0.1", ports["postgresql"])),
        socket.create_server(("127.0.0.1", twin)),
        subprocess.Popen(["sleep", "600"], start_new_session=True) as mlflow,
        subprocess.Popen(["sleep", "600"], start_new_session=True) as ray,
    ):
        running = {"MLflow": mlflow, "Ray": ray}
        started = {
            name: Started(leader=Process.of(server.pid), stop_signal=signal.SIGTERM) for name, server in running.items()
        }
        state = State(ports=ports, run=tmp_path, started=started)
        moved = Stack(tmp_path)._on_free_ports(state, Credentials(), said.append)
        assert Stack(tmp_path)._on_free_ports(moved, Credentials(), said.append) == moved
        assert (mlflow.wait(10), ray.poll()) == (-signal.SIGTERM, None)
        ray.kill()
    changed = {name for name in ports if moved.ports[name] != ports[name]}
    assert changed == {"postgresql", "seaweedfs-filer"}
    assert len({*moved.ports.values()}) == len(PORTS)
    myself = f"is used by {psutil.Process().name()} (process {os.getpid()})"
    assert said == [
        f"Port {ports['postgresql']} of PostgreSQL {myself}; {moved.ports['postgresql']} is used instead.",
        f"Port {twin} of SeaweedFS {myself}; {moved.ports['seaweedfs-filer']} is used instead.",
        "MLflow has ended, to be started with the new port.",
    ]


@pytest.mark.slow
def test_postgresql_runs_for_a_user_who_is_not_root(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from infra.stack.credentials import Credentials
from infra.stack.postgresql import postgresql
from infra.stack.service import free_ports, stop
server = postgresql(pathlib.Path({str(tmp_path)!r}) / "own", free_ports(1)[0], Credentials())
leader = server.start()
server.wait_until_usable(leader)
stop(leader, server.stop_signal)
print(os.geteuid(), server.user)
"""
    as_daemon = ["unshare", "--user", "--map-user=1", "--map-group=1"]
    own = {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [*as_daemon, sys.executable, "-c", code], env=os.environ | own, capture_output=True, text=True
    )
    assert done.stdout == "1 None\n", done.stderr
    assert (tmp_path / "own" / "data" / "PG_VERSION").exists()
    assert not (tmp_path / "own" / "programs").exists()
