"""What a launch asks of the store per trial, and per look, does not grow with the number of its trials."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sweep.console import TextConsole
from sweep.engine.board import Board
from sweep.engine.cluster import Capacity
from sweep.engine.display import Display
from sweep.engine.metrics import LaunchMetrics
from sweep.engine.steering import Steering
from sweep.plan import Plan
from sweep.store import Store
from sweep.studies.costs import LaunchCosts
from sweep.studies.records import StudyRecord
from sweep.tracking.tracker import Tracker
from tests.sweep.publishing import publish_empty
from tests.sweep.timed_store import fill, timed_plan
from tests.sweep.without_ray import Sweep

FEW, MANY = 4, 40
"""Seeds of each arm."""


class Counting:
    """A backend that counts how often each of its methods is called."""

    def __init__(self, backend: Any) -> None:
        self._backend, self.calls = backend, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._backend, name)
        if callable(attribute):
            self.calls[name] += 1
        return attribute

    @staticmethod
    def of(store: Store) -> Counter[str]:
        """What `store` asks from now on."""
        store.backend = counting = Counting(store.backend)  # pyright: ignore[reportAttributeAccessIssue]
        return counting.calls


def test_the_end_of_a_trial_reads_two_manifests_however_many_seeds_its_arm_has(tmp_path: Path) -> None:
    """Its own and that of the next seed, which is missing; those of the whole arm are read for its figures, at once."""
    for seeds in (FEW, MANY):
        folder = tmp_path / str(seeds)
        folder.mkdir()
        sweep = Sweep(folder, arms=[{"variant": "none"}], space={}, search={}, seeds=list(range(seeds)))
        asked = Counting.of(sweep.store)
        assert len(sweep.run()) == seeds
        assert asked["manifest"] == 2 * seeds - 1
        assert asked["manifests"] == 1


def test_a_look_at_a_launch_asks_as_often_for_many_trials_as_for_few(tmp_path: Path) -> None:
    asked = []
    for seeds in (FEW, MANY):
        folder = tmp_path / str(seeds)
        folder.mkdir()
        plan, store = timed_plan(folder, seeds=list(range(seeds))), Store(folder / "store")
        board = Board()
        for stage in plan.stages.values():
            publish_empty(store, stage)
            board.set_state(stage.key, stage.label, "done")
        look = look_of(plan, store, board)
        look()  # reads what each stage cost
        calls = Counting.of(store)
        for _ in range(3):
            look()
        asked.append(dict(calls))
    # Requests of other commands.
    assert asked == [{"entries": 3}] * 2


def look_of(plan: Plan, store: Store, board: Board) -> Callable[[], object]:
    """What a launch does every second, without Ray."""
    metrics = LaunchMetrics(store, LaunchCosts(store, 0), lambda: 0)
    steering = Steering(
        StudyRecord(store, plan.study.name),
        board,  # pyright: ignore[reportArgumentType]
        Display(plan, TextConsole(file=io.StringIO()), store, Capacity(({"CPU": 8.0},))),
        SimpleNamespace(),  # pyright: ignore[reportArgumentType]
        Any,  # pyright: ignore[reportArgumentType]
        SimpleNamespace(check=lambda: True),  # pyright: ignore[reportArgumentType]
        fail_fast=False,
        observers=[metrics.observe],
    )
    search: Any = SimpleNamespace(plan=plan, running=[])
    return lambda: steering._look(search)


def test_looking_for_news_asks_the_store_as_often_for_many_trials_as_for_few(tracking_uri: str, tmp_path: Path) -> None:
    asked = []
    for seeds in (FEW, MANY):
        folder = tmp_path / str(seeds)
        folder.mkdir()
        plan, store = timed_plan(folder, seeds=list(range(seeds))), Store(folder / "store")
        fill(store, [stage for stage in plan.stages.values() if stage.name in ("prepare", "gan")])
        tracker = Tracker(tracking_uri, plan, store)
        tracker.open()
        tracker.record()
        calls = Counting.of(store)
        assert tracker.record() == 0
        asked.append(dict(calls))
    # One listing for the trials, one for the shards of the GAN that is there.
    assert asked == [{"keys": 2}] * 2
