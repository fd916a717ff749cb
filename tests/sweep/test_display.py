"""What a launch shows while it runs: few lines, and a time left that shrinks."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweep.console import TextConsole
from sweep.engine import display
from sweep.engine.cluster import Capacity
from sweep.plan import Plan
from sweep.plan.estimate import Estimator
from sweep.stages import Stage
from sweep.store import Store
from sweep.studies.costs import costs_table
from sweep.studies.pace import Pace
from sweep.studies.progress import StageProgress, StageState
from tests.sweep.publishing import cost_of, publish_empty
from tests.sweep.small_study import small_plan

Look = tuple[float, dict[str, set[str]], dict[str, StageProgress]]
STEPS = 5


@pytest.fixture(scope="module")
def plan() -> Plan:
    return small_plan()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def one_after_the_other(plan: Plan, store: Store, slower: float) -> Iterator[Look]:
    """Time, what is done and how far the rest is, of a launch on one core that is `slower` than assumed."""
    estimator = Estimator(plan, store)
    now, there, progress = 0.0, {name: set[str]() for name in plan.wanted}, dict[str, StageProgress]()
    yield now, there, progress
    for key, stage in plan.stages.items():
        estimate = estimator.of(stage)
        assert estimate is not None
        for step in range(1, STEPS + 1):
            now += slower * estimate.seconds / STEPS
            progress[key] = StageProgress(stage.label, "running", step, STEPS)
            yield now, there, progress
        progress[key] = StageProgress(stage.label, "done", STEPS, STEPS)
        there[stage.name].add(key)
        yield now, there, progress


@pytest.mark.parametrize("slower", [0.5, 1.0, 1.5])
def test_time_left_only_shrinks(plan: Plan, store: Store, slower: float) -> None:
    now = 0.0
    pace = Pace(plan, store, cpus=1, gpus=0, clock=lambda: now)
    told = []
    for now, there, progress in one_after_the_other(plan, store, slower):
        told.append((now, pace.seconds_left(there, progress)))
    assert all(later <= before for (_, before), (_, later) in itertools.pairwise(told))
    assert told[-1][1] == 0
    took = told[-1][0]
    half_way = next((now, left) for now, left in told if now > took / 2)
    assert half_way[0] + half_way[1] == pytest.approx(took, rel=0.35)
    if slower == 1.0:
        assert told[0][1] == pytest.approx(took, rel=0.3)


def test_a_launch_that_is_far_too_slow_says_so(plan: Plan, store: Store) -> None:
    now = 0.0
    pace = Pace(plan, store, cpus=1, gpus=0, clock=lambda: now)
    first = pace.seconds_left({name: set() for name in plan.wanted}, {})
    now = 4 * first
    running = {key: StageProgress(stage.label, "running", 1, 20) for key, stage in plan.stages.items()}
    assert pace.seconds_left({name: set() for name in plan.wanted}, running) > 2 * first


def test_lines_where_output_is_no_terminal(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: now))
    text = io.StringIO()
    shown = display.Display(plan, TextConsole(text, width=200), store, Capacity(({"CPU": 1},)))
    stages: dict[str, StageProgress] = {}

    def second(**states: StageState) -> None:
        nonlocal now
        for label, state in states.items():
            key = next(key for key, stage in plan.stages.items() if stage.label.startswith(label))
            stages[key] = StageProgress(plan.stages[key].label, state, 50, 100)
        shown.show(stages)
        now += 1

    second(prepare="running", detector="waiting", gan="waiting")
    for _ in range(3):
        second()
    second(prepare="done", detector="running")
    for _ in range(300):
        second()
    second(detector="failed")
    prepare = next(iter(plan.stages.values())).label
    lines = [line.split("] ", 1)[1] for line in text.getvalue().splitlines()]
    assert lines[0].startswith("0 of 4 trials evaluated, about ")
    assert lines[0].endswith(f"  running: {prepare} 50%")
    assert lines[1] == f"{prepare} (for 4 trials)  done in 0:04"
    assert lines[2] == "detector none seed 0  running  50%"
    assert [line for line in lines[3:-1] if not line.endswith("running: detector none seed 0 50%")] == []
    assert len(lines[3:-1]) == 2, "every two minutes"
    assert lines[-1] == "detector none seed 0  failed after 5:01"
    assert "waiting" not in text.getvalue()


def test_the_table_on_a_terminal_holds_what_runs(plan: Plan, store: Store) -> None:
    text = io.StringIO()
    console = TextConsole(text, width=120, force_terminal=True)
    shown = display.Display(plan, console, store, Capacity(({"CPU": 1},)))
    some: list[Stage] = list(plan.stages.values())
    states = ("done", "running", "waiting", "waiting")
    stages = {one.key: StageProgress(one.label, state, 1, 4) for one, state in zip(some, states, strict=False)}
    shown.start()
    shown.show(stages)
    shown.stop()
    last = text.getvalue()
    assert some[1].label in last
    assert "1 done" in last
    assert "waiting" not in last
    assert "remaining" in last


def test_time_by_stage_in_a_few_lines(plan: Plan, store: Store) -> None:
    for stage in plan.stages.values():
        publish_empty(store, stage, cost_of(2, cpus=1))
    text = io.StringIO()
    TextConsole(text, width=120).print(costs_table(plan, store))
    lines = text.getvalue().splitlines()
    assert len(lines) == len({stage.name for stage in plan.stages.values()}) + 3, "title, heads, stages, all"
    assert any(line.split()[:4] == ["detector", "4", "8.0", "s"] for line in lines)
