"""What steers a launch, without Ray: requests, budget, and whether a launch is alive."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.databases import DatabaseFile
from sweep.engine.board import Board
from sweep.engine.steering import Steering
from sweep.engine.trial_driver import _Work
from sweep.plan.plan import plan_with
from sweep.store import Store
from sweep.studies.outcome import Outcome, StopReason
from sweep.studies.overview import launch_state
from sweep.studies.progress import StageProgress
from sweep.studies.records import Request, Status, StudyRecord
from tests.sweep.fixed_time import make_timed_maker, timed_study


@pytest.mark.parametrize(("ago", "state"), [(1, "alive"), (60, "gone"), (-3600, "gone")])
def test_a_launch_that_told_last_before_the_clock_was_set_back_is_gone(ago: float, state: str) -> None:
    assert launch_state(Status(updated=time.time() - ago, began=0, host="here", pid=1)) == state


def test_a_request_that_cannot_be_carried_out_costs_no_other(tmp_path: Path) -> None:
    record = StudyRecord(Store(tmp_path), "study")
    for name in ("first", "second"):
        record.ask(Request(action="stop", trials=(name,)))
    taken = record.take_requests()
    next(taken)
    taken.close()  # as by an error within the loop
    assert list(record.take_requests()) == [Request(action="stop", trials=("second",))]
    assert list(record.take_requests()) == []


def test_gpus_of_a_stage_that_is_not_done_count_against_the_budget(tmp_path: Path) -> None:
    study = timed_study(tmp_path, resources={"gan": {"workers": 2, "gpus_per_worker": 1}})
    plan = plan_with(make_timed_maker(study), study, ())
    steering = Steering(StudyRecord(Store(tmp_path / "store"), study.name), None, Any, Any, Any, Any, fail_fast=False)  # pyright: ignore
    running = StageProgress("gan", "running", done=2, total=9, first_report=(time.time() - 1800, 1))
    search: Any = SimpleNamespace(plan=plan)
    assert steering._gpu_seconds_used(search, {next(iter(plan.gans)): running}) == pytest.approx(3600, abs=5)


def test_a_failure_that_says_nothing_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("sweep.engine.trial_driver.ensure", fail)
    trial: Any = SimpleNamespace(name="trial", goals=("goal",))
    work = _Work(trial, None, None)  # pyright: ignore[reportArgumentType]
    work.join()
    assert work.outcome is not None
    assert (work.outcome.state, work.outcome.error) == ("failed", "MemoryError()")


def test_a_launch_that_lost_its_study_ends_its_trials_and_writes_nothing_to_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record = StudyRecord(store, "timed")
    record.ask(Request(action="stop", trials=("of the other launch",)))
    asked: list[str] = []
    said: list[str] = []
    board: Any = SimpleNamespace(stop_all=asked.append)
    display: Any = SimpleNamespace(say=said.append)
    search: Any = SimpleNamespace(close=lambda: asked.append("closed"))
    with store.lease("study", "timed") as lease:
        steering = Steering(record, board, display, Any, Any, lease, fail_fast=False)  # pyright: ignore
        store.backend.write("leases/study/timed.json", b"{}")
        for _ in range(3):
            steering._look(search)
        trial: Any = SimpleNamespace(name="trial")
        steering.trial_ended(trial, Outcome(state="failed", error="its Ray was suspended"))
    assert asked == ["closed", StopReason.TAKEN_OVER]
    assert len(said) == 1
    assert record.status() is None
    assert record.outcomes() == {}
    assert [request.trials for request in record.take_requests()] == [("of the other launch",)]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_search_whose_database_is_lost_says_so_once_and_ends(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "optuna.db"
    path.touch()
    database = DatabaseFile("Optuna", f"sqlite:///{path}", "cells are not known there")
    asked: list[str] = []
    said: list[str] = []
    board: Any = SimpleNamespace(stop_all=asked.append)
    display: Any = SimpleNamespace(say=said.append)
    steering = Steering(SimpleNamespace(store=None), board, display, Any, database, Any, fail_fast=False)  # pyright: ignore

    def look(draws: bool) -> None:
        study = SimpleNamespace(search=SimpleNamespace(draws=draws))
        search: Any = SimpleNamespace(plan=SimpleNamespace(study=study), close=lambda: asked.append("closed"))
        steering._end_without_database(search)

    look(draws=True)
    path.rename(tmp_path / "kept")
    if replaced:
        path.touch()
    look(draws=False)
    assert said == []
    look(draws=True)
    look(draws=True)
    assert len(said) == 1
    assert asked == ["closed", steering.stopped]
    assert said[0].startswith(f"Optuna's database {path} was {'replaced' if replaced else 'deleted'} while")


def test_a_metric_that_is_no_number_leaves_the_status_whole(tmp_path: Path) -> None:
    record = StudyRecord(Store(tmp_path), "timed")
    at = StageProgress("gan cpggan", "running", 5, 10, {"loss": math.nan, "penalty": math.inf, "drift": 0.5})
    record.keep_status(Status(updated=1.0, began=0.0, host="here", pid=1, stages={"k": at}))
    told = record.status()
    assert told is not None
    assert told.stages["k"].metrics == {"drift": 0.5}


def test_who_makes_a_stage_is_told_if_it_is_none_of_this_launch(tmp_path: Path) -> None:
    board, said = Board(), []
    board.join("here, process 1")
    board.set_state("k1", "gan cpggan", "waiting")
    board.wait_for("k1", "here, process 1", 3)
    assert board.snapshot()["k1"].made_by == ""
    board.wait_for("k1", "there, process 2", 4)
    display: Any = SimpleNamespace(say=said.append)
    steering = Steering(StudyRecord(Store(tmp_path), "timed"), None, display, Any, Any, Any, fail_fast=False)  # pyright: ignore
    for _ in range(2):
        steering._name_makers(board.snapshot())
    assert said == ["Waiting for gan cpggan, which is made by there, process 2 (last update 4 s ago)."]
    board.set_state("k1", "gan cpggan", "running")
    assert board.snapshot()["k1"].made_by == ""
