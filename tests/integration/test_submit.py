"""A study goes on without whoever launched it: as a job of a cluster, and in a session of its own on this machine."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from sweep.cli import job
from sweep.versions import versions
from tests.integration.survival import PATIENCE_S, RayHead, free_port
from tests.sweep import conftest as databases
from tests.sweep.cli import conftest
from tests.sweep.cli.conftest import Metsweep

pytestmark = pytest.mark.slow
cohort, fidelity, metsweep = conftest.cohort, conftest.fidelity, conftest.metsweep
empty_database = databases.empty_database
ROOT = Path(__file__).parents[2]
FOREVER = ("--set", "gan.total_kimg=1000")


class Laptop:
    """A working directory with a study, in which commands run."""

    def __init__(self, folder: Path, metsweep: Metsweep) -> None:
        self.folder, self.metsweep = folder, metsweep

    def states(self) -> dict[str, int]:
        """State of a trial -> number of trials."""
        return self._status()["states"]

    def launch_state(self) -> str:
        """Whether the launch lives."""
        return self._status()["launch"]["state"]

    def _status(self) -> dict[str, Any]:
        return json.loads(self.metsweep("status", "small.yaml", "--json").out)

    def until_training(self) -> None:
        """Until the GAN has a checkpoint."""
        deadline = time.monotonic() + PATIENCE_S
        while not list((self.folder / "store" / "checkpoints").rglob("*.pt")):
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.5)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Databases as a cluster has them, and a token."""
    return {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "OPTUNA_STORAGE": f"sqlite:///{tmp_path / 'optuna.db'}",
        "METSWEEP_CACHE": str(tmp_path / "cache"),
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


@pytest.fixture
def laptop(
    tmp_path: Path,
    cohort: Path,
    fidelity: Path,
    environment: dict[str, str],
    empty_database: Path,
    metsweep: Metsweep,
    monkeypatch: pytest.MonkeyPatch,
) -> Laptop:
    """It has neither the cluster's databases nor its cache."""
    values = {
        "name": "small",
        "cohort": str(cohort),
        "fidelity": str(fidelity),
        "arms": [{"variant": "cpggan", "counts": [4]}],
    }
    own = {
        "METSWEEP_STORE": str(tmp_path / "store"),
        "METSWEEP_NOTIFY_COMMAND": f"tee {tmp_path / 'event.json'}",
        "RAY_AUTH_TOKEN": environment["RAY_AUTH_TOKEN"],
        "PYTHONPATH": str(ROOT),
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    Path("small.yaml").write_text(yaml.safe_dump(values))
    return Laptop(tmp_path, metsweep)


@pytest.fixture
def cluster(environment: dict[str, str]) -> Iterator[str]:
    """Address of the dashboard of a cluster with a token, whose head has the settings."""
    dashboard, agent = free_port(), free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    head = RayHead(
        2,
        environment | {"RAY_AUTH_MODE": "token", "PATH": path},
        ("--include-dashboard=true", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
    )
    head.start()
    yield f"http://127.0.0.1:{dashboard}"
    head.close()


@pytest.fixture
def private_tmp() -> Iterator[Path]:
    """For temporary files of a launch: the sockets among them need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))
    yield folder
    subprocess.run(["rm", "-r", str(folder)], check=True)


def test_a_submitted_study_is_followed_stopped_and_continued_from_elsewhere(
    laptop: Laptop, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metsweep, launch = laptop.metsweep, ("launch", "small.yaml", "--cluster", cluster)
    # What the cluster refuses is refused here.
    with monkeypatch.context() as patched:
        patched.setenv("RAY_AUTH_TOKEN", "wrong")
        refused = metsweep(*launch)
        assert refused.code == 2
        assert f"Ray at {cluster} refuses the token of RAY_AUTH_TOKEN" in refused.err
    with monkeypatch.context() as patched:
        patched.setattr(job, "versions", lambda: versions() | {"torch": "1.0"})
        refused = metsweep(*launch)
        assert refused.code == 2
        assert "has other versions: torch 2" in refused.err

    submitted = metsweep(*launch, *FOREVER)
    assert submitted.code == 0, submitted.err
    name = re.findall(r"runs as job (\S+)\.", submitted.out)[0]
    again = metsweep(*launch)
    assert again.code == 2
    assert f"Job {name} runs study small on {cluster} already" in again.err

    laptop.until_training()
    # Somebody without the store and the study file.
    stopped = metsweep("stop", "small", "--cluster", cluster, "--store", "/nowhere")
    assert f"Asked job {name} to end" in stopped.out, stopped.err
    followed = metsweep("watch", "small", "--cluster", cluster, "--store", "/nowhere")
    assert followed.code == 130, followed.out + followed.err
    assert "Stopped. Run the same command again to resume." in followed.out
    assert laptop.states().get("waiting") == 1
    assert list((laptop.folder / "store" / "checkpoints").rglob("*.pt"))

    submitted = metsweep(*launch, "--set", 'arms=[{"variant": "none"}]')
    assert submitted.code == 0, submitted.err
    followed = metsweep("watch", "small", "--cluster", cluster)
    assert followed.code == 0, followed.out + followed.err
    assert laptop.states().get("done") == 1
    assert json.loads((laptop.folder / "event.json").read_text())["event"] == "ended"  # by the submitted setting
    assert "Study small at " in metsweep("logs", "small", "--cluster", cluster).out
    lines = list(map(json.loads, metsweep("logs", "small", "--json", "--stage", "detector").out.splitlines()))
    assert {line["message"] for line in lines} >= {"stage missed", "stage done"}
    assert all(line["study"] == "small" and line["trial"] and line["key"] for line in lines)


def test_a_detached_launch_survives_its_terminal_and_leaves_nothing_on_sigterm(
    laptop: Laptop, environment: dict[str, str], private_tmp: Path
) -> None:
    command = [sys.executable, "-m", "sweep.cli", "launch", "small.yaml", "--detach", *FOREVER]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, command, os.environ | environment | {"TMPDIR": str(private_tmp)})
    said = b""
    with suppress(OSError):  # EIO: nobody has the terminal open any more
        while chunk := os.read(terminal, 4096):
            said += chunk
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, said.decode()
    launch = psutil.Process(int(re.findall(r"as process (\d+)", said.decode())[0]))
    log = Path(re.findall(r"Its output: (\S+)", said.decode())[0])
    try:
        laptop.until_training()
        assert laptop.launch_state() == "alive"
        assert [path.name.startswith("metsweep-launch-") for path in private_tmp.iterdir()] == [True]
        launch.terminate()
        psutil.wait_procs([launch], timeout=PATIENCE_S)
    finally:
        with suppress(psutil.NoSuchProcess):
            launch.kill()
    assert "Stopped. Run the same command again to resume." in log.read_text()
    assert laptop.launch_state() == "ended"
    assert list(private_tmp.iterdir()) == []


def test_a_detached_launch_that_is_refused_says_so(laptop: Laptop) -> None:
    refused = laptop.metsweep("launch", "small.yaml", "--detach", "--cohort", "nowhere")
    assert refused.code == 2
    assert "nowhere" in refused.err
    assert "process" not in refused.out
