"""A real MLflow server that is absent, crashes, freezes: work never waits for it, and nothing is lost or doubled."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweep.plan import Plan
from sweep.store import Store
from sweep.tracking.delivery import Delivery
from sweep.tracking.run_content import trial_content
from sweep.tracking.source_content import source_content, stages_after_sources
from sweep.tracking.tags import STAGE_KEY
from sweep.tracking.tracker import Tracker
from tests.services.mlflow_server import MLflowServer, mlflow_server
from tests.sweep import conftest

pytestmark = pytest.mark.slow
plan, empty_database = conftest.plan, conftest.empty_database
small_store, full_store = conftest.small_store, conftest.full_store


@pytest.fixture
def server(tmp_path: Path, empty_database: Path) -> Iterator[MLflowServer]:
    with mlflow_server(tmp_path / "server") as server:
        shutil.copy(empty_database, server.folder / "mlflow.db")
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    monkeypatch.setattr("sweep.tracking.delivery.LONGEST_PAUSE_SECONDS", 2.0)


class Lines(list[str]):
    """What the person who launched was told."""

    def wait_for(self, text: str, seconds: float = 60) -> None:
        until(lambda: any(text in line for line in self), seconds)


def until(moment: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not moment():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def check_once(server: MLflowServer, plan: Plan, store: Store) -> None:
    """Every run is there once, under one parent, with each of its points once, in the order they were made."""
    client = MlflowClient(server.database, server.database)
    experiment = client.get_experiment_by_name(plan.study.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = {run.data.tags[STAGE_KEY]: run for run in runs if STAGE_KEY in run.data.tags}
    assert set(children) == {*plan.gans, *(trial.evaluate.key for trial in plan.trials)}
    assert len(runs) == len(children) + 1
    assert {run.info.status for run in runs} == {"FINISHED"}
    after = stages_after_sources(plan)
    contents = [source_content(stage, after[key], plan, store) for key, stage in plan.gans.items()]
    contents += [trial_content(trial, plan, store) for trial in plan.trials]
    for content in contents:
        assert content is not None
        run = children[content.key]
        assert run.data.tags["metsweep.written"] == ",".join(part.name for part in content.parts)
        points = [point for part in content.parts for point in part.points]
        for name in {point.name for point in points}:
            history = client.get_metric_history(run.info.run_id, name)
            assert sorted((one.step, one.value) for one in history) == sorted(
                (point.step, point.value) for point in points if point.name == name
            )
    assert len(client.search_logged_models([experiment.experiment_id])) == len(children)


@pytest.mark.usefixtures("impatient")
def test_a_server_absent_at_the_start_gets_everything_when_it_comes(
    plan: Plan, full_store: Store, server: MLflowServer
) -> None:
    told = Lines()
    began = time.monotonic()
    with Delivery(Tracker(server.uri, plan, full_store), told.append) as delivery:
        assert time.monotonic() - began < 2, "work waited for MLflow"
        told.wait_for("The study continues without MLflow")
        server.start()
        told.wait_for("is back after")
        assert delivery.finish("FINISHED", 120)
    assert len(told) == 2
    check_once(server, plan, full_store)


@pytest.mark.usefixtures("impatient")
def test_crashes_after_any_requests_lose_and_double_nothing(
    plan: Plan, full_store: Store, server: MLflowServer
) -> None:
    """Four crashes of one delivery: after 3 requests, when it is back after 12 more, and so on."""
    server.start()
    told = Lines()
    with Delivery(Tracker(server.uri, plan, full_store), told.append) as delivery:
        for more in (3, 12, 25, 40):
            enough = len(server.requests()) + more
            until(lambda enough=enough: len(server.requests()) >= enough, 60)
            assert delivery.tracker.undelivered(), "it was under way"
            server.kill()
            told.wait_for("The study continues without MLflow")
            server.start()
        assert delivery.finish("FINISHED", 120)
    check_once(server, plan, full_store)


@pytest.mark.usefixtures("impatient")
@pytest.mark.timeout(300)
def test_a_server_that_freezes_for_a_minute_makes_no_second_run(
    plan: Plan, full_store: Store, server: MLflowServer
) -> None:
    """What was asked while it was frozen is still carried out when it goes on, though its answers come too late."""
    server.start()
    told = Lines()
    with Delivery(Tracker(server.uri, plan, full_store), told.append) as delivery:
        until(lambda: len(server.requests()) >= 8, 60)
        server.freeze()
        told.wait_for("The study continues without MLflow")
        began = time.monotonic()
        thread = threading.Thread(target=lambda: (time.sleep(60), server.thaw()))
        thread.start()
        assert not delivery._ended.is_set()
        thread.join()
        assert time.monotonic() - began > 59
        assert delivery.finish("FINISHED", 120)
    check_once(server, plan, full_store)


@pytest.mark.usefixtures("impatient")
def test_what_was_not_delivered_is_told_and_delivered_later(
    plan: Plan, full_store: Store, server: MLflowServer
) -> None:
    told = Lines()
    with Delivery(Tracker(server.uri, plan, full_store), told.append) as delivery:
        began = time.monotonic()
        assert not delivery.finish("FINISHED", 3)
        assert time.monotonic() - began < 6
    assert "6 runs not uploaded" in told[-1]
    assert "metsweep track" in told[-1]
    server.start()
    tracker = Tracker(server.uri, plan, full_store)
    tracker.open()
    assert tracker.record() == 6
    tracker.close()
    check_once(server, plan, full_store)
