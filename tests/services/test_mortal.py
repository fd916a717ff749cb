"""No server of the tests outlives a pytest that is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from infra.stack.service import family
from sweep.store.process import Process
from tests.source_files import ROOT

STARTER = """
import os, sys, time
from pathlib import Path
from infra.stack.service import Service
from tests.services.killable import KillableServer
command = ("sh", "-c", "sleep 600 & sleep 600")
server = KillableServer(Service(
    name="It", folder=Path(sys.argv[1]), command=command, environment=os.environ, address="nowhere", check=bool,
))
server.start()
print(server._leader.model_dump_json(), flush=True)
time.sleep(600)
"""
PATIENCE_S = 300


def test_a_server_and_its_processes_end_with_a_killed_starter(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        leader = Process.model_validate_json(starter.stdout.readline())
        until(lambda: len(family(leader)) > 1)
        starter.kill()
    until(lambda: not family(leader))


def until(moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not moment():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
