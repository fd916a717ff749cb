"""Stages on a real Ray: shared ones run once, finished ones never again, short ones ride in the training job."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
import ray.cloudpickle
import torch

from sweep.engine.board import BoardHandle
from sweep.engine.cluster import ray_cluster
from sweep.engine.execution import UnseenArtifactError, _Job, ensure
from sweep.stages import Stage
from sweep.stages.work import Assumed, SliceCounts
from sweep.store import Artifact, Store
from sweep.studies.study_logs import StudyLogs
from trainers.config import Config
from trainers.distributed import FAILURES, Context, Placement, WorkerResources
from trainers.exceptions import TrainingError

pytestmark = pytest.mark.slow
# Ray's workers cannot import a test module.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Number(Config):
    """Decides a test stage."""

    value: int = 0
    """Anything."""


@dataclass(frozen=True, eq=False)
class Base(Stage):
    """Notes that it ran."""

    name: ClassVar[str] = "base"
    version: ClassVar[int] = 1

    config: Number
    diary: Path

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {}

    def assumed(self, slices: SliceCounts, flops: float | None) -> Assumed:
        return Assumed(1.0, "a test")

    @property
    def resources(self) -> WorkerResources:
        return WorkerResources(cpus_per_worker=2)

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        with self.diary.open("a") as diary:
            diary.write(f"base {self.config.value}\n")
        context.progress(1, 2, {"figure": 0.5})
        (out / "value.txt").write_text(str(self.config.value))


@dataclass(frozen=True, eq=False)
class Light(Base):
    """The same, in one job with the stages that train."""

    name: ClassVar[str] = "light"

    @property
    def resources(self) -> WorkerResources:
        return WorkerResources()


@dataclass(frozen=True, eq=False)
class Dying(Base):
    """Ends its process."""

    name: ClassVar[str] = "dying"

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        with self.diary.open("a") as diary:
            diary.write("begun\n")
        os._exit(1)


@dataclass(frozen=True, eq=False)
class Trained(Stage):
    """A training stage on top of it, which fails at first if told so and continues from its checkpoint."""

    name: ClassVar[str] = "trained"
    version: ClassVar[int] = 1
    trains: ClassVar[bool] = True

    config: Number
    base: Base

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {"base": self.base}

    def assumed(self, slices: SliceCounts, flops: float | None) -> Assumed:
        return Assumed(1.0, "a test")

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        checkpoint = context.load_checkpoint()
        if checkpoint is None:
            context.save_checkpoint(_note_one_step)
            if self.config.value < 0:
                raise RuntimeError("lost the first time")
        with self.base.diary.open("a") as diary:
            diary.write(f"trained {self.config.value} resumed={checkpoint is not None}\n")
        (out / "value.txt").write_text((inputs["base"] / "value.txt").read_text())


@dataclass(frozen=True, eq=False)
class Outlasting(Trained):
    """Meanwhile its input is set aside, as by another trial that finds it damaged."""

    name: ClassVar[str] = "outlasting"

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        super().run(inputs, out, context)
        shutil.rmtree(inputs["base"])


def _note_one_step(folder: Path) -> None:
    (folder / "step").write_text("1")


@pytest.fixture(scope="module")
def board() -> Iterator[BoardHandle]:
    with ray_cluster(None, []):
        yield BoardHandle.start("timed")


def test_two_trials_that_want_the_same_stage_run_it_once(board: BoardHandle, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    diary = tmp_path / "diary.txt"
    base = Base(Number(value=3), diary)
    wanted = [Trained(Number(value=1), base), Trained(Number(value=2), base)]
    threads = [threading.Thread(target=ensure, args=(stage, store, board, "trial")) for stage in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(diary.read_text().splitlines()) == ["base 3", "trained 1 resumed=False", "trained 2 resumed=False"]
    artifact = store.find("trained", wanted[0].key)
    assert artifact is not None
    assert artifact.manifest.cost.peak_memory_bytes > 50e6
    assert artifact.manifest.identity["inputs"] == {"base": base.key}

    ensure(wanted[0], store, board, "trial")
    assert len(diary.read_text().splitlines()) == 3

    done = [line for line in StudyLogs(store, "timed").new_lines() if line["message"] == "stage done"]
    assert {(line["study"], line["trial"], line["stage"]) for line in done} == {
        ("timed", "trial", "base"),
        ("timed", "trial", "trained"),
    }
    assert {line["key"] for line in done} == {base.key, *(stage.key for stage in wanted)}


class Unshared(Store):
    """A folder that every node has of its own: what workers publish is not seen here."""

    here: ClassVar[int] = os.getpid()

    def find(self, stage: str, key: str) -> Artifact | None:
        return None if os.getpid() == self.here else super().find(stage, key)


def test_an_artifact_that_cannot_be_seen_is_a_failure_and_is_not_made_again(board: BoardHandle, tmp_path: Path) -> None:
    diary = tmp_path / "diary.txt"
    with pytest.raises(UnseenArtifactError, match="Every node must reach the store under the same path"):
        ensure(Base(Number(), diary), Unshared(tmp_path / "store"), board, "trial")
    assert diary.read_text().splitlines() == ["base 0"]


def test_lost_worker_continues_from_its_checkpoint(board: BoardHandle, tmp_path: Path) -> None:
    diary = tmp_path / "diary.txt"
    ensure(Trained(Number(value=-1), Base(Number(), diary)), Store(tmp_path / "store"), board, "trial")
    assert diary.read_text().splitlines() == ["base 0", "trained -1 resumed=True"]
    assert not list((tmp_path / "store" / "checkpoints").glob("*/latest"))


def test_what_another_trial_sets_aside_meanwhile_is_no_failure_of_this_one(board: BoardHandle, tmp_path: Path) -> None:
    store, light = Store(tmp_path / "store"), Light(Number(), tmp_path / "diary.txt")
    ensure(light, store, board, "trial")
    assert ensure(Outlasting(Number(), light), store, board, "trial").path.is_dir()
    assert store.find("light", light.key) is None


def test_a_stage_whose_process_always_dies_fails_in_words(board: BoardHandle, tmp_path: Path) -> None:
    diary = tmp_path / "diary.txt"
    with pytest.raises(TrainingError, match="trial: dying: its process died in every attempt"):
        ensure(Dying(Number(), diary), Store(tmp_path / "store"), board, "trial")
    assert diary.read_text().splitlines() == ["begun"] * (1 + FAILURES)


def test_what_a_job_published_before_it_lost_a_worker_is_not_made_again(board: BoardHandle, tmp_path: Path) -> None:
    diary = tmp_path / "diary.txt"
    ensure(Trained(Number(value=-1), Light(Number(), diary)), Store(tmp_path / "store"), board, "trial")
    assert diary.read_text().splitlines() == ["base 0", "trained -1 resumed=True"]


def test_what_does_not_train_is_done_by_one_rank_and_the_others_wait_for_it(board: BoardHandle, tmp_path: Path) -> None:
    """Two ranks, as threads: the second has nothing to do in the first stage and comes to the next one at once."""
    store, diary = Store(tmp_path / "store"), tmp_path / "diary.txt"
    light = Light(Number(value=5), diary)
    stages = (light, Trained(Number(value=1), light))
    with ExitStack() as held, ThreadPoolExecutor(2) as pool:
        fences = {one.key: held.enter_context(store.lease(one.name, one.key)).fence for one in stages}
        job = _Job(stages, fences, store, board, "trial", requested=time.time())
        second = pool.submit(job, Placement(1, 2, torch.device("cpu")))
        time.sleep(0.3)
        first = pool.submit(job, Placement(0, 2, torch.device("cpu")))
        first.result(timeout=60)
        second.result(timeout=60)
    lines = diary.read_text().splitlines()
    assert lines[0] == "base 5"
    assert lines.count("base 5") == 1
    assert store.find("trained", stages[1].key) is not None


@pytest.mark.usefixtures("board")
def test_ctrl_z_in_the_terminal_leaves_rays_daemons_at_work() -> None:
    """Stopped with the launch, as they are of its process group, they would be dead to the workers, which go on."""
    blocked = {}
    children = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
    daemons = [one for one in children if "/ray/" in " ".join(one.cmdline())]
    for one in daemons:
        (mask,) = (line for line in Path(f"/proc/{one.pid}/status").read_text().splitlines() if "SigBlk" in line)
        blocked[one.name()] = bool(int(mask.split()[1], 16) & 1 << (signal.SIGTSTP - 1))
    assert {"raylet", "gcs_server"} <= set(blocked)
    assert all(blocked.values())
    assert signal.SIGTSTP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
