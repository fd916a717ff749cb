"""`kill -9` of the driver at three moments of a study: the same command continues, nothing is done or logged twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mlflow
import psutil
import pytest
import yaml

STUDY = {
    "name": "tiny",
    "cohort": "cohort",
    "fidelity": "laptop",
    "arms": [{"variant": "none"}, {"variant": "cpggan", "counts": [8]}],
    "count_scale": 1.0,
    "gan": {
        "width": 0.1,
        "batch_size": 8,
        "total_kimg": 1.6,
        "fade_kimg": 0.1,
        "stable_kimg": 0.1,
        "stable_kimg_at": {4: 0.1, 8: 0.1, 32: 0.1},
        "checkpoint_kimg": 0.2,
    },
    "synthesis": {"shard_size": 8},
    "detector": {"steps": 40, "evaluate_every": 10},
    "realism": {"slices": 16},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a small cohort and a study that takes little."""
    folder = tmp_path_factory.mktemp("home")
    metsweep(folder, "cohort", "demo", "cohort", "--patients", "4", "--normals", "0").wait()
    (folder / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


def metsweep(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the command as a user would, in a session of its own."""
    own = {"METSWEEP_STORE": str(home / "store"), "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}
    log = (home / "output.txt").open("ab")
    return subprocess.Popen(
        [sys.executable, "-m", "sweep.cli", *arguments],
        cwd=home, env=os.environ | own, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip


def kill_when(home: Path, moment: Callable[[], bool]) -> None:
    """Launch, kill -9 the driver at the moment, and see that whoever works for it dies with it."""
    driver = metsweep(home, "launch", "tiny.yaml")
    family = set()
    deadline = time.time() + 300
    while not moment():
        assert driver.poll() is None, (home / "output.txt").read_text()
        assert time.time() < deadline, (home / "output.txt").read_text()
        family |= set(psutil.Process(driver.pid).children(recursive=True))
        time.sleep(0.1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    _, alive = psutil.wait_procs([one for one in family if _works(one)], timeout=60)
    assert not alive


def _works(process: psutil.Process) -> bool:
    """Ray's own idle agents notice later that they are alone."""
    try:
        return "Agent" not in process.name()
    except psutil.NoSuchProcess:
        return False


def artifacts(home: Path) -> dict[str, float]:
    """Every complete artifact and when it was finished."""
    found = (home / "store").glob("*/*/manifest.json")
    return {str(path.parent): json.loads(path.read_text())["cost"]["finished"] for path in found}


def has(home: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any((home / "store").glob(pattern))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_driver_continues_without_doing_or_logging_anything_twice(home: Path) -> None:
    kill_when(home, has(home, "checkpoints/*/latest/*"))
    in_training = artifacts(home)
    assert [Path(path).parent.name for path in in_training] == ["prepare"]

    kill_when(home, has(home, "gan/*/manifest.json"))
    after_gan = artifacts(home)

    kill_when(home, has(home, "evaluate/*/manifest.json"))
    after_evaluation = artifacts(home)

    assert metsweep(home, "launch", "tiny.yaml").wait() == 0, (home / "output.txt").read_text()
    final = artifacts(home)
    for earlier in (in_training, after_gan, after_evaluation):
        assert earlier.items() <= final.items(), "a finished stage ran again"
    assert Counter(Path(path).parent.name for path in final) == {
        "prepare": 1, "gan": 1, "synthesize": 2, "detector": 2, "evaluate": 2, "realism": 1
    }  # fmt: skip
    before = logged(home)
    assert Counter(kind for kind, _ in before) == {"sweep": 1, "gan": 1, "trial": 2}

    began = time.time()
    assert metsweep(home, "launch", "tiny.yaml").wait() == 0
    assert time.time() - began < 60
    assert artifacts(home) == final
    assert logged(home) == before


def logged(home: Path) -> list[tuple[str, str]]:
    """Kind and content of every MLflow run; fails on a metric point that is there twice."""
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    for run in runs:
        assert run.info.status == "FINISHED"
        for name in run.data.metrics:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
            assert len(steps) == len(set(steps)), f"{name} of {run.info.run_name} was logged twice"
    return sorted((run.data.tags["metsweep.kind"], str(sorted(run.data.metrics.items()))) for run in runs)
