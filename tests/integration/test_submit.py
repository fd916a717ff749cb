"""A study goes on without whoever launched it: as a job of a cluster, and in a session of its own on this machine."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from sweep.cli import job, main
from sweep.versions import versions
from tests.integration.survival import PATIENCE_S, RayHead, free_port
from tests.sweep.cli import conftest

pytestmark = pytest.mark.slow
cohort, fidelity = conftest.cohort, conftest.fidelity
ROOT = Path(__file__).parents[2]
FOREVER = ("--set", "gan.total_kimg=1000")


class Laptop:
    """A working directory with a study, and commands of their own processes."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = os.environ | environment | {"PYTHONPATH": str(ROOT), "METSWEEP_STORE": str(folder / "store")}

    def metsweep(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "sweep.cli", *arguments],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip

    def status(self, *options: str) -> dict[str, Any]:
        """Of the study."""
        ended = self.metsweep("status", "small.yaml", "--json", *options)
        return json.loads(ended.stdout) if ended.returncode == 0 else {"states": {}, "launch": "never"}

    def until_training(self) -> None:
        """Until the GAN has a checkpoint."""
        self.until(lambda: list((self.folder / "store" / "checkpoints").rglob("*.pt")))

    def until(self, moment: Callable[[], object]) -> None:
        """Wait for a moment."""
        deadline = time.monotonic() + PATIENCE_S
        while not moment():
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
def laptop(tmp_path: Path, cohort: Path, fidelity: Path, environment: dict[str, str]) -> Laptop:
    values = {
        "name": "small",
        "cohort": str(cohort),
        "fidelity": str(fidelity),
        "arms": [{"variant": "cpggan", "counts": [4]}],
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values))
    own = {"METSWEEP_NOTIFY_COMMAND": f"tee {tmp_path / 'event.json'}"}
    return Laptop(tmp_path, own | {"RAY_AUTH_TOKEN": environment["RAY_AUTH_TOKEN"]})


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


def test_a_submitted_study_is_followed_stopped_and_continued_from_elsewhere(
    laptop: Laptop, cluster: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in laptop.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(laptop.folder)
    launch = ("launch", "small.yaml", "--cluster", cluster)
    # What the cluster refuses is refused here.
    with monkeypatch.context() as patched:
        patched.setenv("RAY_AUTH_TOKEN", "wrong")
        assert main([*launch]) == 2
        assert f"Ray at {cluster} refuses the token of RAY_AUTH_TOKEN" in capfd.readouterr().err
    with monkeypatch.context() as patched:
        patched.setattr(job, "versions", lambda: versions() | {"torch": "1.0"})
        assert main([*launch]) == 2
        assert "has other versions: torch 2" in capfd.readouterr().err

    submitted = laptop.metsweep(*launch, *FOREVER)
    assert submitted.returncode == 0, submitted.stderr
    name = re.findall(r"runs as job (\S+)\.", submitted.stdout)[0]
    again = laptop.metsweep(*launch)
    assert again.returncode == 2
    assert f"Job {name} runs study small on {cluster} already" in again.stderr

    laptop.until_training()
    # Somebody without the store and the study file.
    stopped = laptop.metsweep("stop", "small", "--cluster", cluster, "--store", "/nowhere")
    assert f"Asked job {name} to end" in stopped.stdout, stopped.stderr
    followed = laptop.metsweep("watch", "small", "--cluster", cluster, "--store", "/nowhere")
    assert followed.returncode == 130, followed.stdout + followed.stderr
    assert "Stopped. Run the same command again to resume." in followed.stdout
    assert laptop.status()["states"].get("waiting") == 1
    assert list((laptop.folder / "store" / "checkpoints").rglob("*.pt"))

    submitted = laptop.metsweep(*launch, "--set", "gan.total_kimg=0.03")
    assert submitted.returncode == 0, submitted.stderr
    followed = laptop.metsweep("watch", "small", "--cluster", cluster)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert laptop.status()["states"].get("done") == 1
    assert json.loads((laptop.folder / "event.json").read_text())["event"] == "ended"  # by the submitted setting
    shown = laptop.metsweep("logs", "small", "--cluster", cluster).stdout
    assert "Study small at " in shown
    lines = list(map(json.loads, laptop.metsweep("logs", "small", "--json", "--stage", "gan").stdout.splitlines()))
    assert {line["message"] for line in lines} >= {"stage missed", "stage done"}
    assert all(line["study"] == "small" and line["trial"] and line["key"] for line in lines)


def test_a_detached_launch_survives_its_terminal_and_ends_on_sigterm(laptop: Laptop) -> None:
    command = [sys.executable, "-m", "sweep.cli", "launch", "small.yaml", "--detach", *FOREVER]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(laptop.folder)
        os.execve(sys.executable, command, laptop.environment)
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
        assert laptop.status()["launch"]["state"] == "alive"
        launch.terminate()
        psutil.wait_procs([launch], timeout=PATIENCE_S)
    finally:
        with suppress(psutil.NoSuchProcess):
            launch.kill()
    assert "Stopped. Run the same command again to resume." in log.read_text()
    assert laptop.status()["launch"]["state"] == "ended"


def test_a_detached_launch_that_is_refused_says_so(laptop: Laptop) -> None:
    refused = laptop.metsweep("launch", "small.yaml", "--detach", "--cohort", "nowhere")
    assert refused.returncode == 2
    assert "nowhere" in refused.stderr
    assert "process" not in refused.stdout
