"""A worker whose stage was taken over while it worked: it stops, and writes nothing where others write now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from sweep.engine import fencing
from sweep.engine.execution import produce
from sweep.stages import Stage
from sweep.stages.work import Assumed, SliceCounts
from sweep.store import Store
from trainers.config import Config
from trainers.distributed import Context, Placement
from trainers.exceptions import StopRequestedError


class Steps(Config):
    """Decides a test stage."""

    taken_over_at: int | None = None
    """Step at which another process takes the lease over; 6 = after the last."""


@dataclass(frozen=True, eq=False)
class Stepping(Stage):
    """Five steps, with a checkpoint each; another process takes it over at one of them."""

    name: ClassVar[str] = "stepping"
    version: ClassVar[int] = 1
    trains: ClassVar[bool] = True

    config: Steps
    store: Store
    done: list[int]

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {}

    def assumed(self, slices: SliceCounts, flops: float | None) -> Assumed:
        return Assumed(1.0, "a test")

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        for step in range(1, 7):
            if step == self.config.taken_over_at:
                self.store.backend.write(f"leases/{self.name}/{self.key}.json", b"{}")
            if step == 6:
                break
            self.done.append(step)
            context.save_checkpoint(lambda fresh, step=step: write(fresh, step))
            context.stop_point(lambda fresh, step=step: write(fresh, step))
        (out / "value.txt").write_text("5")


def write(folder: Path, step: int) -> None:
    (folder / "step").write_text(str(step))


@pytest.fixture
def board() -> Any:
    """Answers nothing: nobody asks to stop."""
    return SimpleNamespace(set_state=_silent, advance=_silent, ask_stop_reason=lambda _: Future())


def _silent(*_: object) -> None:
    return None


def run(stage: Stepping, store: Store, board: Any) -> None:
    with store.lease(stage.name, stage.key) as lease:
        produce(stage, store, Placement.alone(), board, "trial", lease.fence, time.time())


def test_a_worker_that_lost_its_lease_stops_and_leaves_the_checkpoint_alone(tmp_path: Path, board: Any) -> None:
    store, done = Store(tmp_path), []
    stage = Stepping(Steps(taken_over_at=3), store, done)
    with pytest.raises(StopRequestedError):
        run(stage, store, board)
    assert done == [1, 2, 3]
    assert store.find(stage.name, stage.key) is None
    kept = store.checkpoints(stage.key).load()
    assert kept is not None
    assert (kept / "step").read_text() == "2"


def test_a_worker_that_lost_its_lease_at_the_end_publishes_nothing(tmp_path: Path, board: Any) -> None:
    store, done = Store(tmp_path), []
    stage = Stepping(Steps(taken_over_at=6), store, done)
    with pytest.raises(StopRequestedError):
        run(stage, store, board)
    assert done == [1, 2, 3, 4, 5]
    assert store.find(stage.name, stage.key) is None


def test_a_worker_looks_at_its_lease_without_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fencing, "LOOK_SECONDS", 0.01)
    store = Store(tmp_path)
    with store.lease("gan", "k1") as lease:
        fenced = fencing.Fenced(store.checkpoints("k1"), lease.fence, lambda: False, "gan")
        with fenced.watched():
            assert not fenced.asked_to_stop()
            store.backend.write("leases/gan/k1.json", b"{}")
            deadline = time.monotonic() + 20
            while not fenced.asked_to_stop():
                assert time.monotonic() < deadline
                time.sleep(0.01)


def test_who_holds_its_lease_publishes_and_clears_its_checkpoints(tmp_path: Path, board: Any) -> None:
    store, done = Store(tmp_path), []
    stage = Stepping(Steps(), store, done)
    run(stage, store, board)
    assert done == [1, 2, 3, 4, 5]
    assert store.find(stage.name, stage.key) is not None
    assert store.checkpoints(stage.key).load() is None
