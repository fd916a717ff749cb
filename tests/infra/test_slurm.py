"""The batch script of Slurm on a real Ray; `srun` and `scontrol` are stand-ins for a cluster of one node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.survival import PATIENCE_S, Home
from tests.source_files import ROOT
from tests.sweep import conftest

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]
empty_database = conftest.empty_database

STAND_INS = {
    "srun": 'while [[ $1 == -* ]]; do shift; done\nexec "$@"\n',
    "scontrol": 'if [[ $1 == show ]]; then echo node1; else echo "$@" >> "$HOME/scontrol"; fi\n',
    "ray": 'exec "$PYTHON" -m tests.services.patient_ray "$@"\n',
    "metsweep": 'shift; echo "launched with $*"\nexec "$PYTHON" -m tests.sweep.fixed_time "$STUDY" "arms=$ARMS"\n',
}
ARMS = [{"variant": "cpggan", "counts": [400]}]


class Job:
    """A job of one node and one try after another."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder, None, counts=[400])
        self._id = os.getpid()
        self.session = Path(f"/tmp/metsweep-{os.getuid()}-{self._id}")
        self.token = folder / f".cache/metsweep/slurm-{self._id}/token"
        self._environment = os.environ | {
            "HOME": str(folder), "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "STUDY": str(folder), "ARMS": json.dumps(ARMS),
            "METSWEEP_STORE": str(self.home.store), "MLFLOW_TRACKING_URI": self.home.database,
            "OPTUNA_STORAGE": f"sqlite:///{folder / 'optuna.db'}", "SLURM_JOB_ID": str(self._id),
            "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2",
            "RAY_AUTH_TOKEN": "another-cluster's", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip

    def start(self) -> subprocess.Popen[bytes]:
        """Run the script as Slurm would."""
        script = ROOT / "infra/slurm/metsweep.sbatch"
        with (self.home.folder / "output.txt").open("ab") as log:
            return subprocess.Popen(
                ["bash", script, "table1", "--fidelity", "gpu"], env=self._environment, cwd=self.home.folder,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def left(self) -> list[str]:
        """Processes that still know the job's session."""
        return [
            " ".join(process.info["cmdline"])
            for process in psutil.process_iter(["cmdline"])
            if any(str(self.session) in part for part in process.info["cmdline"] or ())
        ]


@pytest.fixture
def job(tmp_path: Path, empty_database: Path) -> Job:
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    (tmp_path / "bin").mkdir()
    for name, content in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{content}")
        (tmp_path / "bin" / name).chmod(0o755)
    return Job(tmp_path)


def test_the_job_is_requeued_when_its_time_is_up_and_goes_on_from_the_checkpoint(job: Job) -> None:
    job.home.pace(gan=20, detector=1)
    first = job.start()
    job.home.until(lambda: len(job.home.steps("gan")) >= 3, first)
    assert (job.token.stat().st_mode & 0o777, len(job.token.read_text())) == (0o600, 64)
    token = job.token.read_text()
    first.send_signal(signal.SIGUSR1)
    assert first.wait(PATIENCE_S) == 0, job.home.output
    assert (job.home.folder / "scontrol").read_text() == f"requeue {os.getpid()}\n"
    _nothing_is_left(job)
    job.home.pace(gan=1, detector=1)
    assert job.start().wait(PATIENCE_S) == 0, job.home.output
    assert job.home.repeated() <= 1
    assert len(job.home.table()["figures"]) == 1
    assert "launched with table1 --fidelity gpu" in job.home.output
    assert token not in job.home.output
    _nothing_is_left(job)


def _nothing_is_left(job: Job) -> None:
    deadline = time.monotonic() + 30
    while job.left() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not job.left()
    assert not job.session.exists()
    assert not job.token.parent.exists()
