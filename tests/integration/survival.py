"""Launches a study of known length as a process, disturbs it, and reads what it left behind."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil
import ray.util
from mlflow import MlflowClient

from sweep.store import Store
from sweep.store.process import Process
from tests.services.hosts import until
from tests.services.mortal import ends_with_this_process
from tests.sweep.fixed_time import STEPS, Pace

NO_TOKEN = {"RAY_AUTH_MODE": "disabled"}
"""Whether Ray's daemons ask for one depends on what this user has run before."""
COUNTS = (400, 800, 1200)
DISK_SIZE = "20g"
PATIENCE_S = 500.0
"""How long anything may take on a busy machine."""


class RayHead:
    """A Ray cluster of one node that outlives the drivers it serves, like one that `ray start` began."""

    def __init__(self, cpus: int, environment: dict[str, str] | None = None, options: Sequence[str] = ()) -> None:
        self._cpus, self._environment, self._options = cpus, environment or {}, options
        self._port = free_port()
        self.address = f"{ray.util.get_node_ip_address()}:{self._port}"
        # Ray's sockets lie there, and a socket's path may have 107 characters.
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, and wait until it answers."""
        arguments = (
            "-m", "tests.services.patient_ray", "start", "--head", "--block", "--disable-usage-stats",
            f"--port={self._port}", f"--num-cpus={self._cpus}", f"--temp-dir={self._folder}",
            "--include-dashboard=false", "--object-store-memory=100000000", *self._options,
        )  # fmt: skip
        own = {"PYTHONPATH": str(Path(__file__).parents[2])} | NO_TOKEN
        output = Path(self._folder, "output.txt")
        with output.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *arguments], env=os.environ | own | self._environment,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        ends_with_this_process(Process.of(self._process.pid))
        until(lambda: "Ray runtime started" in output.read_text(), self._process, output, PATIENCE_S)

    def kill(self) -> None:
        """End all its processes at once."""
        if self._process is None:
            return
        family = self.family()
        for one in family:
            _kill(one)
        self._process.wait()
        psutil.wait_procs(family, timeout=60)
        self._process = None
        # The next one says again that it has started.
        Path(self._folder, "output.txt").unlink()

    def close(self) -> None:
        """Leave nothing behind."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def family(self, title: str = "") -> list[psutil.Process]:
        """Its processes whose command line holds `title`, e.g. `ray::`."""
        if self._process is None or self._process.poll() is not None:
            return []
        parent = psutil.Process(self._process.pid)
        return [one for one in [parent, *parent.children(recursive=True)] if title in _title(one)]


@dataclass
class Home:
    """A working directory with a study."""

    folder: Path
    address: str | None
    """Of Ray; None = every launch begins its own."""
    counts: Sequence[int] = COUNTS
    """Synthetic counts of its arms: one trial each, all of one GAN."""
    tracking_uri: str = ""
    """Of an MLflow server; empty = none."""
    tracked: str = ""
    """Database of that server."""
    store_uri: str = ""
    """Of its artifacts; empty = a folder of its own."""
    optuna_uri: str = ""
    """Of Optuna's database; empty = a file of its own."""
    study: str = "timed"
    """Its name."""
    environment: dict[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    """Of the study."""

    def pace(self, **pace: Any) -> None:
        """How its stages behave from now on."""
        fresh = self.folder / "pace.json.fresh"
        fresh.write_text(Pace(**pace).model_dump_json())
        fresh.rename(self.folder / "pace.json")

    def launch(self, *options: str, **more: Any) -> subprocess.Popen[bytes]:
        """Start a launch, in a session of its own."""
        arms = [{"variant": "cpggan", "counts": list(self.counts)}]
        values = {"name": self.study, "arms": arms, **self.more, **more}
        own = {
            "METSWEEP_STORE": self.store_uri or str(self.store),
            "MLFLOW_TRACKING_URI": self.tracking_uri or self.database,
            "OPTUNA_STORAGE": self.optuna,
            "PYTHONUNBUFFERED": "1",
            **NO_TOKEN,
        } | ({"RAY_ADDRESS": self.address} if self.address else {})
        pairs = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        with (self.folder / "output.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.sweep.fixed_time", str(self.folder), *options, *pairs],
                cwd=Path(__file__).parents[2], env=os.environ | own | self.environment,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def finish(self, driver: subprocess.Popen[bytes] | None = None, status: int = 0) -> str:
        """Wait for a launch, or a fresh one, to end with that exit status; all that launches here have said."""
        driver = driver or self.launch()
        try:
            assert driver.wait(PATIENCE_S) == status, self.output
        finally:
            driver.kill()
            driver.wait()
        return self.output

    def until(self, moment: Callable[[], object], driver: subprocess.Popen[bytes]) -> None:
        """Wait for a moment; it must come, and before the launch ends."""
        until(moment, driver, self.folder / "output.txt", PATIENCE_S)

    @property
    def output(self) -> str:
        """What launches have said."""
        return (self.folder / "output.txt").read_text()

    @property
    def store(self) -> Path:
        """Its artifacts, unless they lie elsewhere."""
        return self.folder / "store"

    @property
    def optuna(self) -> str:
        """URI of Optuna's database."""
        return self.optuna_uri or f"sqlite:///{self.folder / 'optuna.db'}"

    @property
    def database(self) -> str:
        """MLflow's."""
        return self.tracked or f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def diary(self) -> list[str]:
        """Every step that a stage did."""
        path = self.folder / "diary.txt"
        return path.read_text().splitlines() if path.exists() else []

    def steps(self, stage: str) -> list[int]:
        """Steps that training stages of a kind did, in order."""
        return [int(line.split()[2]) for line in self.diary if line.startswith(stage)]

    def repeated(self) -> int:
        """How many steps were done again; fails if one was left out, or a stage fell back by more than a step."""
        lines = [line.split() for line in self.diary]
        for name in {(kind, key) for kind, key, *_ in lines}:
            done = [int(rest[0]) for kind, key, *rest in lines if (kind, key) == name and rest]
            assert not done or (done[0], done[-1]) == (1, STEPS), done
            assert all(after - before in (0, 1) for before, after in itertools.pairwise(done)), done
        counts = Counter(map(tuple, lines))
        return counts.total() - len(counts)

    def artifacts(self) -> dict[str, float]:
        """Every complete artifact and when it was finished."""
        found = self.store.glob("*/*/manifest.json")
        return {
            f"{path.parent.parent.name} {path.parent.name}": json.loads(path.read_text())["cost"]["finished"]
            for path in found
        }

    def table(self) -> dict[str, Any]:
        """What the study found: figures of every evaluation, what Optuna holds and what MLflow holds, each once."""
        store = Store(self.store_uri or self.store)
        figures = {}
        for key in store.keys("evaluate"):
            artifact = store.find("evaluate", key)
            assert artifact is not None
            metrics = json.loads((artifact.path / "metrics.json").read_text())
            figures[key] = metrics["validation"]["iou50"]["sensitivity"]
        return {"figures": figures, "optuna": self.told(), "mlflow": self.logged()}

    def table_of(self, other: Home) -> dict[str, Any]:
        """The part of the table that is of trials of another home."""
        table, figures = self.table(), other.table()["figures"]
        missing = {f"cpggan {count} seed 0" for count in set(self.counts) - set(other.counts)}
        return {
            "figures": {key: value for key, value in table["figures"].items() if key in figures},
            "optuna": [one for one in table["optuna"] if dict(one[1])["arm.count"] in other.counts],
            "mlflow": [one for one in table["mlflow"] if one[1] not in missing],
        }

    def told(self) -> list[tuple[str, Any, Any]]:
        """Optuna's trials: state, parameters, values; without order."""
        trials = optuna.load_study(study_name=self.study, storage=self.optuna).trials
        return sorted((one.state.name, sorted(one.params.items()), one.values) for one in trials)

    def logged(self, status: str = "FINISHED") -> list[tuple[Any, ...]]:
        """MLflow's runs: kind and newest figures; fails on a point that is there twice and on a run that is open."""
        client = MlflowClient(self.database, self.database)
        experiment = client.get_experiment_by_name(self.study)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        for run in runs:
            assert run.info.status in ("FINISHED", status), run.info.run_name
            for name in run.data.metrics:
                steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
                assert len(steps) == len(set(steps)), f"{name} of {run.info.run_name} was logged twice"
        return sorted((run.data.tags["metsweep.kind"], run.info.run_name, _figures(run)) for run in runs)


def leader(home: Home, stage: str) -> psutil.Process | None:
    """The process that holds the lease of a stage."""
    for path in (home.store / "leases" / stage).glob("*.json"):
        try:
            return psutil.Process(json.loads(path.read_text())["process"]["pid"])
        except (FileNotFoundError, json.JSONDecodeError, psutil.NoSuchProcess):
            continue
    return None


def kill(process: psutil.Process | subprocess.Popen[bytes]) -> None:
    """-9, and wait until it is gone."""
    process.send_signal(signal.SIGKILL)
    process.wait(60)


@contextmanager
def a_disk_at(folder: Path) -> Iterator[None]:
    """A disk of its own, in memory; the size is what a launch asks for at least."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written into a folder."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """The disk of a folder has no byte left."""
    used = shutil.disk_usage(folder).used
    subprocess.run(["mount", "-o", f"remount,size={used}", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", f"remount,size={DISK_SIZE}", str(folder)], check=True)


def flip_a_bit(path: Path) -> None:
    """In the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _figures(run: Any) -> list[tuple[str, float]]:
    """Of a trial: names of all its figures, values of those that do not depend on the clock."""
    if run.data.tags["metsweep.kind"] != "trial":
        return []
    kept = ("sensitivity", "fps_per_slice", "loss")
    figures = run.data.metrics.items()
    return sorted((name, value if name.endswith(kept) else 0.0) for name, value in figures)


def free_port() -> int:
    """Of this machine; not among those that Ray keeps for its workers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
