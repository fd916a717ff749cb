"""MLflow is delivered to beside the work: refusals come before it, outages never stop it, nothing is there twice."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from search_spaces.search import Prices
from sweep.plan import Plan
from sweep.store import Store
from sweep.tracking.delivery import Delivery
from sweep.tracking.mlflow_client import TrackingOutageError, connect
from sweep.tracking.run_content import trial_content
from sweep.tracking.tags import BEST_RUN, STAGE_KEY
from sweep.tracking.tracker import Tracker
from tests.sweep.mlflow_runs import DyingClient, outputs_of, runs_of
from tests.sweep.small_study import make
from trainers.exceptions import TrackingError


@pytest.fixture
def one(plan: Plan) -> Plan:
    """The study with one trial, of the real-only arm."""
    return Plan(plan.study, plan.trials[:1])


class LosingClient(DyingClient):
    """MLflow's client whose answers are lost after some calls, once: what was asked is carried out."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            self.left -= 1
            if self.left == 0:
                raise TrackingOutageError("nobody answered")
            return answer

        return call


def test_an_answer_lost_after_any_call_doubles_nothing(
    one: Plan, full_store: Store, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = 0
    for calls in range(1, 60, 3):
        study = one.study.model_copy(update={"name": f"lost-{calls}"})
        plan, told = Plan(study, one.trials), []
        client = LosingClient(connect(tracking_uri), calls)
        monkeypatch.setattr("sweep.tracking.tracker.connect", lambda _, losing=client: losing)
        with Delivery(Tracker(tracking_uri, plan, full_store), told.append, every_seconds=0.01) as delivery:
            assert delivery.finish("FINISHED", 60)
        runs = runs_of(tracking_uri, study.name)  # refuses two of the same name
        assert set(runs) == {study.name, "none seed 0"}
        run = runs["none seed 0"]
        assert run.info.status == "FINISHED"
        assert len(outputs_of(run)) == 1
        content = trial_content(plan.trials[0], plan, full_store)
        assert content is not None
        points = [point for part in content.parts for point in part.points]
        for name in {point.name for point in points}:
            history = MlflowClient(tracking_uri, tracking_uri).get_metric_history(run.info.run_id, name)
            assert len(history) == sum(point.name == name for point in points)
        if client.left > 0:
            break
        assert len(told) == 2
        assert "The study continues without MLflow" in told[0]
        assert "is back after" in told[1]
        lost += 1
    assert lost > 5


def test_an_empty_twin_is_deleted_and_the_older_parent_counts(one: Plan, full_store: Store, tracking_uri: str) -> None:
    def track() -> None:
        tracker = Tracker(tracking_uri, one, full_store)
        tracker.open()
        tracker.record()
        tracker.close()

    track()
    before = {run.info.run_id for run in runs_of(tracking_uri).values()}
    client = MlflowClient(tracking_uri, tracking_uri)
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    client.create_run(experiment.experiment_id, tags={STAGE_KEY: one.trials[0].evaluate.key}, run_name="twin")
    client.create_run(experiment.experiment_id, tags={"metsweep.kind": "sweep"}, run_name="second parent")
    track()
    assert {run.info.run_id for run in runs_of(tracking_uri).values()} == before


def test_refusals_come_before_the_work_and_end_the_delivery(one: Plan, full_store: Store, tracking_uri: str) -> None:
    client = MlflowClient(tracking_uri, tracking_uri)
    client.delete_experiment(client.create_experiment("small"))
    told: list[str] = []
    for uri, reason in ((tracking_uri, "was deleted"), ("ftp://somewhere/mlflow", "ftp")):
        with (
            pytest.raises(TrackingError, match=reason) as caught,
            Delivery(Tracker(uri, one, full_store), told.append),
        ):
            pytest.fail("work began")
        assert not isinstance(caught.value, TrackingOutageError)
    assert not told


def test_work_begins_and_ends_without_a_server(one: Plan, full_store: Store, closed_port: int) -> None:
    told: list[str] = []
    began = time.monotonic()
    with Delivery(Tracker(f"http://127.0.0.1:{closed_port}", one, full_store), told.append) as delivery:
        assert time.monotonic() - began < 5
        assert not delivery.finish("FINISHED", 1)
    assert len(told) == 2
    assert "The study continues without MLflow" in told[0]
    assert f"{closed_port} could not be reached: 1 run not uploaded. The store keeps all results" in told[1]


class SlowTracker(Tracker):
    """Delivers a run each 0.4 s."""

    def open(self) -> None:
        pass

    def record(self) -> int:
        for key in sorted({*"abcd"} - self._complete):
            time.sleep(0.4)
            self._complete.add(key)
        return 4

    def close(self, status: str = "FINISHED") -> None:
        pass


def test_the_end_waits_as_long_as_runs_are_delivered(one: Plan, full_store: Store, tracking_uri: str) -> None:
    with Delivery(SlowTracker(tracking_uri, one, full_store), print, every_seconds=60) as delivery:
        began = time.monotonic()
        assert delivery.finish("FINISHED", patience_seconds=1)
        assert time.monotonic() - began > 1.4


def test_ctrl_c_is_told_and_the_next_launch_is_running_again(plan: Plan, tracking_uri: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    gan = next(iter(plan.gans.values()))
    for stage in (gan.slices, gan):
        make(stage, store)
    with pytest.raises(KeyboardInterrupt), Delivery(Tracker(tracking_uri, plan, store), print):
        raise KeyboardInterrupt
    assert {name: run.info.status for name, run in runs_of(tracking_uri).items()} == {
        "small": "KILLED", "gan cpggan": "KILLED",
    }  # fmt: skip
    again = Tracker(tracking_uri, plan, store)
    again.open()
    assert runs_of(tracking_uri)["small"].info.status == "RUNNING"
    with pytest.raises(ZeroDivisionError), Delivery(again, print):
        raise ZeroDivisionError
    assert runs_of(tracking_uri)["small"].info.status == "FAILED"


def test_a_search_trial_tells_its_draw_and_a_run_its_cost(
    one: Plan, full_store: Store, tracking_uri: str, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    shutil.copytree(full_store.local, store.local)
    priced = one.study.model_copy(update={"prices": Prices(gpu_hour=7200, cpu_hour=3600, currency="EUR")})
    (trial,) = one.trials
    for stage in (trial.evaluate, trial.evaluate.detector):
        found = store.find(stage.name, stage.key)
        assert found is not None
        cost = found.manifest.cost.model_copy(
            update={"cpus": 2.0, "gpus": 1.0, "finished": found.manifest.cost.started + 3}
        )
        (store.local / stage.name / stage.key / "manifest.json").write_text(
            found.manifest.model_copy(update={"cost": cost}).sealed().model_dump_json()
        )
    drawn = replace(trial, params={"detector.learning_rate": 0.002, "count": 4}, number=17)
    tracker = Tracker(tracking_uri, Plan(priced, (drawn,)), store, cluster="ray://head:10001 (2 nodes)")
    tracker.open()
    tracker.record()
    tags, data = (run := runs_of(tracking_uri)["t17 none seed 0"]).data.tags, run.data
    assert data.params["detector.learning_rate"] == "0.002"
    assert tags["metsweep.optuna_number"] == "17"
    assert tags["metsweep.cluster"] == "ray://head:10001 (2 nodes)"
    assert (tags["metsweep.gpu_seconds"], tags["metsweep.cpu_seconds"]) == ("6.0", "12.0")
    assert (float(tags["metsweep.cost"]), tags["metsweep.currency"]) == (6 * 2 + 12, "EUR")


def test_a_thread_that_died_has_not_delivered(one: Plan, full_store: Store, tracking_uri: str) -> None:
    """It dies of what it wants to tell: an error of MLflow's that rich takes for markup."""
    told: list[str] = []

    def tell_once_it_is_no_markup(line: str) -> None:
        if "[/b]" in line and not told:
            told.append("broken")
            raise ValueError("closing tag '[/b]' doesn't match any open tag")
        told.append(line)

    begun = threading.Event()

    class Refusing(Tracker):
        def record(self) -> int:
            if begun.is_set():
                raise TrackingError("no such run [/b]")
            return 0

    with Delivery(Refusing(tracking_uri, one, full_store), tell_once_it_is_no_markup, every_seconds=0.01) as delivery:
        begun.set()
        delivery._thread.join(20)
        assert not delivery.finish("FINISHED", 5)
        assert delivery.failed
    assert len(told) == 2
    assert "failed (ValueError: closing tag" in told[1]
    assert "1 run not uploaded" in told[1]
    assert "`metsweep track small`" in told[1]
    with Delivery(Tracker(tracking_uri, one, full_store), told.append) as delivery:
        assert delivery.finish("FINISHED", 60)
        assert not delivery.failed


def written_in_full(uri: str) -> bool:
    """Whether a delivery has written the last that it writes before its end: the best trial, into the parent run."""
    experiment = MlflowClient(uri, uri).get_experiment_by_name("small")
    return experiment is not None and any(BEST_RUN in run.data.tags for run in runs_of(uri).values())


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_that_is_deleted_or_replaced_is_noticed_and_filled_again_by_a_new_process(
    one: Plan, full_store: Store, tracking_uri: str, empty_database: Path, replaced: bool
) -> None:
    told: list[str] = []
    file = Path(tracking_uri.removeprefix("sqlite:///"))
    with Delivery(Tracker(tracking_uri, one, full_store), told.append, every_seconds=0.01) as delivery:
        while not written_in_full(tracking_uri):
            time.sleep(0.05)
        file.unlink()
        if replaced:
            shutil.copy(empty_database, file)
        while not told:
            time.sleep(0.05)
        assert f"MLflow's database {file} was {'replaced' if replaced else 'deleted'}" in told[0]
        assert not delivery.finish("FINISHED", 60)
        assert delivery.failed
    assert "1 run not uploaded" in told[1]
    assert "`metsweep track small`" in told[1]
    # To MLflow, whose connections are kept by URI, this is another database, as it is to another process.
    afresh = f"sqlite:///{file.parent}/../{file.parent.name}/{file.name}"
    with Delivery(Tracker(afresh, one, full_store), told.append) as delivery:
        assert delivery.finish("FINISHED", 60)
    assert {run.info.status for run in runs_of(afresh).values()} == {"FINISHED"}
