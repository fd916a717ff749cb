"""A process that was suspended while it delivered a study, and another one that took over: every run is there once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from sweep.cli.options import StudyOptions
from sweep.engine import study_lease
from sweep.engine.study_lease import only_process
from sweep.plan import Plan
from sweep.store import Store, lease
from sweep.tracking.delivery import Delivery
from sweep.tracking.run_content import trial_content
from sweep.tracking.tags import STAGE_KEY
from sweep.tracking.tracker import Tracker
from tests.sweep.mlflow_runs import outputs_of
from tests.sweep.timed_store import fill, timed_plan
from trainers.exceptions import LostLeaseError, StoreError


@pytest.fixture
def timed(tmp_path: Path) -> Plan:
    return timed_plan(tmp_path)


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def all_runs(uri: str, name: str = "timed", view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], run_view_type=view))


def check_once(uri: str, plan: Plan, store: Store) -> None:
    """One parent, one run a trial and a GAN, each finished, below the parent and with each of its points once."""
    runs = all_runs(uri, plan.study.name)
    names = [str(run.info.run_name) for run in runs]
    assert sorted(names) == sorted({plan.study.name, *(gan.label for gan in plan.gans.values()), *trial_names(plan)})
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = (run for run in runs if run.data.tags["metsweep.kind"] == "sweep")
    below = {run.data.tags["mlflow.parentRunId"] for run in runs if run is not parent}
    assert below == {parent.info.run_id}
    client = MlflowClient(uri, uri)
    for trial in plan.trials:
        (run,) = (run for run in runs if run.data.tags.get(STAGE_KEY) == trial.evaluate.key)
        content = trial_content(trial, plan, store)
        assert content is not None
        points = [point for part in content.parts for point in part.points]
        for name in {point.name for point in points}:
            history = client.get_metric_history(run.info.run_id, name)
            assert len(history) == sum(point.name == name for point in points)


def trial_names(plan: Plan) -> list[str]:
    return [trial.name for trial in plan.trials]


def deliver(uri: str, plan: Plan, store: Store) -> Tracker:
    tracker = Tracker(uri, plan, store)
    tracker.open()
    tracker.record()
    tracker.close()
    return tracker


def until(moment: Callable[[], object], process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + 240
    while not moment():
        assert time.monotonic() < deadline, output.read_text()
        assert process.poll() is None, output.read_text()
        time.sleep(0.05)


@pytest.mark.slow
def test_a_suspended_process_that_lost_its_study_writes_nothing_more_and_says_so(
    timed: Plan, uri: str, tmp_path: Path
) -> None:
    store, output = Store(tmp_path / "store"), tmp_path / "output.txt"
    with output.open("wb") as log:
        command = [sys.executable, "-m", "tests.sweep.delivering", str(tmp_path)]
        first = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=log, stderr=log)
    try:
        until(lambda: "delivering" in output.read_text(), first, output)
        first.send_signal(signal.SIGSTOP)
        fill(store, timed.stages.values())
        told: list[str] = []
        with (
            only_process("timed", store, told.append) as mine,
            Delivery(Tracker(uri, timed, store, lease=mine), told.append, every_seconds=0.2) as delivery,
        ):
            first.send_signal(signal.SIGCONT)
            assert first.wait(60) == 1, output.read_text()
            assert delivery.finish("FINISHED")
    finally:
        first.kill()
    assert told[0].startswith(f"Waiting for study timed, which runs on {os.uname().nodename}, process {first.pid} (")
    assert f"taken over by another process ({os.uname().nodename}, process {os.getpid()})" in output.read_text()
    check_once(uri, timed, store)


def test_of_two_that_delivered_at_once_each_run_stays_once(timed: Plan, uri: str, tmp_path: Path) -> None:
    """What the first makes after the second has looked is mended by the second, at its end."""
    store = Store(tmp_path / "store")
    first, second = Tracker(uri, timed, store), Tracker(uri, timed, store)
    first.open()
    second.open()
    fill(store, timed.stages.values())
    first.record()
    second.record()
    assert len(all_runs(uri)) == 1 + 2 * (len(timed.trials) + len(timed.gans))
    second.close()
    check_once(uri, timed, store)


@pytest.mark.parametrize("left", ["whole", "half"])
def test_twins_with_content_are_mended_by_the_next_delivery(timed: Plan, uri: str, tmp_path: Path, left: str) -> None:
    """Two parents with children each, as two processes leave that never knew of each other."""
    store = Store(tmp_path / "store")
    trackers = [Tracker(uri, timed, store), Tracker(uri, timed, store)]
    trackers[0].open()
    hidden = all_runs(uri)[0].info.run_id
    client = MlflowClient(uri, uri)
    client.set_tag(hidden, "metsweep.kind", "hidden")
    trackers[1].open()
    client.set_tag(hidden, "metsweep.kind", "sweep")
    stages = list(timed.stages.values())
    fill(store, stages if left == "whole" else [one for one in stages if one.name in ("prepare", "gan")])
    for tracker in trackers:
        tracker.record()
    fill(store, stages)
    assert len([run for run in all_runs(uri) if run.data.tags["metsweep.kind"] == "sweep"]) == 2
    deliver(uri, timed, store)
    check_once(uri, timed, store)
    again = {run.info.run_id for run in all_runs(uri)}
    deliver(uri, timed, store)
    assert {run.info.run_id for run in all_runs(uri)} == again
    assert len(all_runs(uri, view=ViewType.DELETED_ONLY)) == (4 if left == "whole" else 2)


def test_the_twin_that_a_registered_model_came_from_is_kept(plan: Plan, full_store: Store, tracking_uri: str) -> None:
    one = Plan(plan.study, plan.trials[:1])
    trackers = [Tracker(tracking_uri, one, full_store), Tracker(tracking_uri, one, full_store)]
    for tracker in trackers:
        tracker.open()
    for tracker in trackers:
        tracker.record()
    client = MlflowClient(tracking_uri, tracking_uri)
    twins = [run for run in all_runs(tracking_uri, "small") if run.info.run_name == "none seed 0"]
    assert len(twins) == 2
    for run in twins:
        client.create_registered_model(f"of {run.info.run_id}")
    # The younger of two that are otherwise alike.
    registered = twins[0]
    model = outputs_of(registered)[0].model_id
    client.create_model_version(
        f"of {registered.info.run_id}", f"models:/{model}", run_id=registered.info.run_id, model_id=model
    )
    deliver(tracking_uri, one, full_store)
    runs = {run.info.run_name: run.info.run_id for run in all_runs(tracking_uri, "small")}
    assert runs["none seed 0"] == registered.info.run_id
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    (kept,) = client.search_logged_models([experiment.experiment_id])
    assert kept.model_id == model


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.2)
    monkeypatch.setattr(lease, "POLL_S", 0.05)
    monkeypatch.setattr(lease, "NAMED_AFTER_S", 0.2)
    monkeypatch.setattr(study_lease, "LEASE_LAPSES_S", 1.0)


@pytest.mark.usefixtures("impatient")
def test_who_has_the_study_is_named_to_whom_waits_for_it(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        only_process("timed", Store(tmp_path), print),
        pytest.raises(StoreError) as caught,
        only_process("timed", Store(tmp_path), told.append),
    ):
        pytest.fail("two at once")
    holder = f"on {os.uname().nodename}, process {os.getpid()}"
    assert len(told) == 1
    assert holder in told[0]
    assert "last update 0 s ago" in told[0]
    assert f"{holder}. Follow it with `metsweep watch timed`" in str(caught.value)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", ["track", "promote"])
def test_a_command_that_delivers_waits_for_the_launch(
    command: str, recorded_uri: str, full_store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer import Exit

    from sweep.cli import promote, track

    module: Any = {"track": track, "promote": promote}[command]
    settings = SimpleNamespace(tracking_uri=recorded_uri, optuna_storage="sqlite:///optuna.db")
    opened = SimpleNamespace(plan=lambda: plan, store=full_store, settings=settings)
    monkeypatch.setattr(StudyOptions, "open", lambda *_: opened)
    before = [run.to_dictionary() for run in all_runs(recorded_uri, "small")]
    options = {"fidelity": None, "cohort": None, "overrides": None, "store": str(full_store.uri)}
    with only_process("small", full_store, print), pytest.raises((StoreError, Exit), match="Another command"):
        getattr(module, command)(study="small", **options)
    assert [run.to_dictionary() for run in all_runs(recorded_uri, "small")] == before


def test_a_tracker_without_its_lease_writes_nothing(timed: Plan, uri: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    fill(store, timed.stages.values())
    with only_process("timed", store, print) as mine:
        tracker = Tracker(uri, timed, store, lease=mine)
        tracker.open()
        store.backend.write("leases/study/timed.json", b"{}")
        for call in (tracker.open, tracker.record, tracker.close):
            with pytest.raises(LostLeaseError, match="Study timed was taken over by another process"):
                call()
    assert len(all_runs(uri)) == 1
