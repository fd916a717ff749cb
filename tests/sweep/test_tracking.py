"""MLflow holds what the store holds, each thing once, whatever happened in between."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from sweep.plan import Plan
from sweep.store import Store
from sweep.tracking.mlflow_client import connect
from sweep.tracking.run_content import trial_content
from sweep.tracking.source_content import source_content, stages_after_sources
from sweep.tracking.tags import STAGE_KEY
from sweep.tracking.tracker import Tracker
from tests.sweep.mlflow_runs import DyingClient, outputs_of, runs_of
from tests.sweep.small_study import make
from trainers.exceptions import TrackingError


@pytest.fixture(scope="module")
def runs(recorded_uri: str) -> dict[str, Run]:
    return runs_of(recorded_uri)


@pytest.fixture(scope="module")
def client(recorded_uri: str) -> MlflowClient:
    return MlflowClient(recorded_uri, recorded_uri)


def test_one_run_for_the_sweep_each_gan_and_each_trial(plan: Plan, runs: dict[str, Run]) -> None:
    parent = runs["small"]
    children = [run for run in runs.values() if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    keys = {run.data.tags[STAGE_KEY] for run in children}
    assert keys == {*plan.gans, *(trial.evaluate.key for trial in plan.trials)}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_a_stage_that_needs_two_gans_belongs_to_the_run_of_the_last(plan: Plan) -> None:
    """Such a detector learnt from synthetic slices, and then taught a second GAN."""
    trial = next(trial for trial in plan.trials if trial.gan)
    assert trial.gan is not None
    detector, evaluate = trial.evaluate.detector, trial.evaluate
    taught = replace(trial.gan, detector=detector)
    shard = replace(detector.shards[0], source=taught)
    second = replace(trial, evaluate=replace(evaluate, detector=replace(detector, shards=(shard,))), realism=None)
    after = stages_after_sources(Plan(plan.study, (second,)))
    assert after == {trial.gan.key: {shard.part: detector.shards[0]}, taught.key: {shard.part: shard}}


def test_trial_run_has_arm_config_and_final_figures(
    plan: Plan, full_store: Store, runs: dict[str, Run], client: MlflowClient
) -> None:
    trial = plan.trials[2]
    run = runs["cpggan 8 seed 0"]
    config = plan.study.detector
    wanted = {
        "variant": "cpggan", "count": "8", "seed": "0", "detector.steps": str(config.steps),
        "detector.model": "yolov3", "detector.learning_rate": str(config.learning_rate),
        "prepare.size": str(plan.study.prepare.size),
    }  # fmt: skip
    assert wanted.items() <= run.data.params.items()
    assert trial.gan is not None
    assert run.data.tags["metsweep.gan_key"] == trial.gan.key
    metrics = json.loads((full_store.local / "evaluate" / trial.evaluate.key / "metrics.json").read_text())
    for split in ("validation", "test"):
        for iou in ("iou50", "iou25"):
            for name in ("sensitivity", "fps_per_slice"):
                assert run.data.metrics[f"{split}/{name}_{iou}"] == metrics[split][iou][name]
    found = full_store.find("detector", trial.evaluate.detector.key)
    assert found is not None
    assert run.info.start_time == round(found.manifest.cost.started * 1000)
    config_file = client.download_artifacts(run.info.run_id, "config/evaluation.yaml")
    assert "ious:\n- 0.5\n- 0.25\n" in Path(config_file).read_text(), "files hold what no param shows"
    figures = client.download_artifacts(run.info.run_id, "figures.json")
    assert json.loads(Path(figures).read_text()) == metrics


def test_a_run_has_few_params_and_metrics(runs: dict[str, Run]) -> None:
    sizes = {name: len(run.data.params) + len(run.data.metrics) for name, run in runs.items()}
    assert max(sizes.values()) <= 40, sizes


def test_the_parent_carries_the_best_trial(runs: dict[str, Run]) -> None:
    parent = runs["small"].data
    best = runs[parent.tags["metsweep.best_trial"]]
    assert parent.tags["metsweep.best_run"] == best.info.run_id
    trials = [run for run in runs.values() if run.data.tags["metsweep.kind"] == "trial"]
    highest = max(run.data.metrics["validation/sensitivity_iou50"] for run in trials)
    assert parent.metrics["validation/sensitivity_iou50"] == highest
    assert parent.metrics["test/fps_per_slice_iou25"] == best.data.metrics["test/fps_per_slice_iou25"]


def test_views_show_few_charts_and_fold_the_others(client: MlflowClient, runs: dict[str, Run]) -> None:
    experiment = client.get_experiment(runs["small"].info.experiment_id)
    kept = experiment.tags["mlflow.sharedViewState.trials"]
    assert len(kept) < 4000, "MLflow takes 5000 characters"
    state = json.loads(kept)
    metrics = {name for run in runs.values() for name in run.data.metrics}
    shown = {chart["metricKey"] for chart in state["compareRunCharts"]}
    assert shown <= metrics
    open_sections = {section["uuid"] for section in state["compareRunSections"] if section["display"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == open_sections
    folded = {section["name"] for section in state["compareRunSections"]} - open_sections
    assert {name.partition("/")[0] for name in metrics} <= folded
    assert {column.split("`")[1] for column in state["selectedColumns"]} <= metrics | {"variant", "count", "seed"}


def test_history_has_the_steps_and_times_of_the_training(
    plan: Plan, full_store: Store, runs: dict[str, Run], client: MlflowClient
) -> None:
    key = plan.trials[0].evaluate.detector.key
    text = (full_store.local / "detector" / key / "history.jsonl").read_text()
    lines = [line for line in map(json.loads, text.splitlines()) if "detector/loss" in line]
    logged = client.get_metric_history(runs["none seed 0"].info.run_id, "detector/loss")
    assert [(one.step, one.value, one.timestamp) for one in logged] == [
        (line["step"], line["detector/loss"], round(line["time"] * 1000)) for line in lines
    ]


def test_figures_of_all_stages_are_there(runs: dict[str, Run], client: MlflowClient) -> None:
    def figures(name: str) -> set[str]:
        run_id = runs[name].info.run_id
        folders = [entry.path for entry in client.list_artifacts(run_id, "figures")]
        return {entry.path for folder in folders for entry in client.list_artifacts(run_id, folder)}

    assert {
        "figures/gan/samples.png", "figures/gan/losses.png", "figures/synthesize-0/samples.png",
        "figures/synthesize-1/samples.png",
    } <= figures("gan cpggan")  # fmt: skip
    wanted = {"figures/detector/loss_curves.png", "figures/evaluate/froc.png", "figures/evaluate/detections.png"}
    assert wanted <= figures("none seed 0")
    report = {entry.path for entry in client.list_artifacts(runs["small"].info.run_id, "report")}
    names = ("report.md", "report.html", "table1.csv", "table1.tex", "tables", "figures")
    assert report == {f"report/{name}" for name in names}


def test_inputs_and_models_belong_to_their_runs(plan: Plan, runs: dict[str, Run], client: MlflowClient) -> None:
    prepared = plan.trials[0].evaluate.detector.slices.key
    read = runs["cpggan 4 seed 0"].inputs
    inputs = {one.dataset.name: one.dataset.digest for one in read.dataset_inputs} if read else {}
    assert inputs["real"] == prepared[:32]
    assert set(inputs) == {"real", "synthetic cpggan 4"}
    for name, run in runs.items():
        outputs = outputs_of(run)
        assert len(outputs) == (0 if name == "small" else 1)
        if outputs:
            model = client.get_logged_model(outputs[0].model_id)
            assert str(model.status) == "READY"
            assert model.name == ("generator" if name.startswith("gan") else "detector")
            assert model.tags["license"] == "AGPL-3.0-or-later"
    model = client.get_logged_model(outputs_of(runs["none seed 0"])[0].model_id)
    shown = {metric.key: metric.value for metric in model.metrics or []}
    assert shown["test/sensitivity_iou50"] == runs["none seed 0"].data.metrics["test/sensitivity_iou50"]


def test_recording_again_changes_nothing(plan: Plan, full_store: Store, recorded_uri: str) -> None:
    before = {name: run.to_dictionary() for name, run in runs_of(recorded_uri).items()}
    tracker = Tracker(recorded_uri, plan, full_store)
    tracker.open()
    began = time.perf_counter()
    assert tracker.record() == 0
    assert time.perf_counter() - began < 1
    tracker.close()
    assert {name: run.to_dictionary() for name, run in runs_of(recorded_uri).items()} == before


def test_trials_that_share_an_evaluation_share_a_run(plan: Plan, full_store: Store, tracking_uri: str) -> None:
    drawn = replace(plan.trials[-1], number=7)
    tracker = Tracker(tracking_uri, replace(plan, trials=(*plan.trials, drawn)), full_store)
    tracker.open()
    assert tracker.record() == len(plan.gans) + len(plan.trials)
    assert {drawn.name, *(trial.name for trial in plan.trials[:-1])} <= set(runs_of(tracking_uri))


def test_a_running_sweep_carries_the_best_trial_so_far_and_keeps_it_after_ctrl_c(
    plan: Plan, full_store: Store, tracking_uri: str, runs: dict[str, Run]
) -> None:
    """The step of its figures is how many trials were complete."""
    best = runs["small"].data.tags["metsweep.best_trial"]
    others = tuple(trial for trial in plan.trials if trial.name != best)
    tracker = Tracker(tracking_uri, replace(plan, trials=others), full_store)
    tracker.open()
    tracker.record()
    parent = runs_of(tracking_uri)["small"]
    assert parent.info.status == "RUNNING"
    assert parent.data.tags["metsweep.best_trial"] in {trial.name for trial in others}
    tracker.plan = plan
    tracker.record()
    tracker.close("KILLED")
    parent = runs_of(tracking_uri)["small"]
    assert (parent.info.status, parent.data.tags["metsweep.best_trial"]) == ("KILLED", best)
    history = connect(tracking_uri).get_metric_history(parent.info.run_id, "validation/sensitivity_iou50")
    assert [point.step for point in history] == [len(others), len(plan.trials)]


def test_a_best_trial_that_was_set_aside_is_the_best_again_once_it_is_made_again(
    plan: Plan, full_store: Store, tracking_uri: str, runs: dict[str, Run], tmp_path: Path
) -> None:
    best = next(trial for trial in plan.trials if trial.name == runs["small"].data.tags["metsweep.best_trial"])
    interrupted = Tracker(tracking_uri, plan, full_store)
    interrupted.open()
    interrupted.record()
    interrupted.close("KILLED")
    store = Store(Path(shutil.copytree(full_store.local, tmp_path / "store")))
    damaged = store.find("evaluate", best.evaluate.key)
    assert damaged is not None
    store.set_aside(damaged, "a bit flipped")

    tracker = Tracker(tracking_uri, plan, store)
    tracker.open()
    tracker.record()
    others = {trial.name for trial in plan.trials} - {best.name}
    assert runs_of(tracking_uri)["small"].data.tags["metsweep.best_trial"] in others
    shutil.copytree(full_store.local / "evaluate" / best.evaluate.key, store.local / "evaluate" / best.evaluate.key)
    tracker.record()
    assert runs_of(tracking_uri)["small"].data.tags["metsweep.best_trial"] == best.name


def test_runs_appear_as_their_artifacts_do(plan: Plan, tracking_uri: str, tmp_path: Path) -> None:
    """A GAN's run is there once it is trained and ends with its last shard; a failed sweep leaves nothing running."""
    store = Store(tmp_path / "store")
    gan = next(iter(plan.gans.values()))
    shards = plan.trials[2].evaluate.detector.shards
    tracker = Tracker(tracking_uri, plan, store)
    tracker.open()
    assert tracker.record() == 0
    for stage in [plan.trials[0].evaluate.detector.slices, gan, shards[0]]:
        make(stage, store)
    assert tracker.record() == 0
    assert runs_of(tracking_uri)["gan cpggan"].info.status == "RUNNING"
    tracker.close("FAILED")
    assert {run.info.status for run in runs_of(tracking_uri).values()} == {"FAILED"}

    make(shards[1], store)
    again = Tracker(tracking_uri, plan, store)
    again.open()
    assert runs_of(tracking_uri)["small"].info.status == "RUNNING"
    assert again.record() == 1
    run = runs_of(tracking_uri)["gan cpggan"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["metsweep.written"] == "gan,synthesize-0,synthesize-1"


def test_killed_after_any_call_nothing_is_lost_or_doubled(
    plan: Plan, full_store: Store, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_gan = (plan.trials[3],)
    calls, survived = 1, False
    while not survived:
        name = f"killed-{calls}"
        study = plan.study.model_copy(update={"name": name})
        client = DyingClient(connect(tracking_uri), calls)
        with monkeypatch.context() as patch:
            patch.setattr("sweep.tracking.tracker.connect", lambda _, dying=client: dying)
            survived = _drive(Plan(study, one_gan), full_store, tracking_uri)
        if not survived:
            assert _drive(Plan(study, one_gan), full_store, tracking_uri)
        _check_once(Plan(study, one_gan), full_store, tracking_uri)
        calls += 3
    assert calls > 20


def _drive(plan: Plan, store: Store, uri: str) -> bool:
    tracker = Tracker(uri, plan, store)
    try:
        tracker.open()
        tracker.record()
        tracker.close()
    except KeyboardInterrupt:
        return False
    return True


def _check_once(plan: Plan, store: Store, uri: str) -> None:
    client = MlflowClient(uri, uri)
    runs = runs_of(uri, plan.study.name)
    assert set(runs) == {plan.study.name, "gan image2image", "image2image 4 seed 0"}
    contents = [source_content(stage, stages_after_sources(plan)[key], plan, store) for key, stage in plan.gans.items()]
    contents += [trial_content(trial, plan, store) for trial in plan.trials]
    for content in contents:
        assert content is not None
        run = runs[content.name]
        assert run.info.status == "FINISHED"
        assert len(outputs_of(run)) == 1
        points = [point for part in content.parts for point in part.points]
        for name in {point.name for point in points}:
            history = client.get_metric_history(run.info.run_id, name)
            assert len(history) == sum(point.name == name for point in points)
    experiment = client.get_experiment_by_name(plan.study.name)
    assert experiment is not None
    assert len(client.search_logged_models([experiment.experiment_id])) == 2


def test_unreachable_server_is_told_at_once_without_its_password(plan: Plan, tmp_path: Path, closed_port: int) -> None:
    for uri in (f"http://127.0.0.1:{closed_port}", f"postgresql://someone:secret@127.0.0.1:{closed_port}/mlflow"):
        began = time.perf_counter()
        with pytest.raises(TrackingError, match=f"{closed_port}.*MLFLOW_TRACKING_URI") as caught:
            Tracker(uri, plan, Store(tmp_path)).open()
        assert time.perf_counter() - began < 10
        assert "secret" not in str(caught.value)


def test_deleted_experiment_is_refused_with_the_way_back(plan: Plan, full_store: Store, tracking_uri: str) -> None:
    client = MlflowClient(tracking_uri, tracking_uri)
    client.delete_experiment(client.create_experiment("small"))
    with pytest.raises(TrackingError, match="mlflow experiments restore"):
        Tracker(tracking_uri, plan, full_store).open()


def test_a_relative_database_is_found_from_any_folder(
    plan: Plan, full_store: Store, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    monkeypatch.chdir(tmp_path)
    tracker = Tracker("sqlite:///mlflow.db", plan, full_store)
    monkeypatch.chdir("/")
    tracker.open()
    experiment = MlflowClient(tracker.tracking_uri).get_experiment_by_name("small")
    assert experiment is not None
    assert experiment.artifact_location == str(tmp_path / "mlruns" / "small")


def test_a_changed_study_keeps_its_parent_and_repeats_no_run(plan: Plan, full_store: Store, tracking_uri: str) -> None:
    assert _drive(Plan(plan.study, plan.trials[:2]), full_store, tracking_uri)
    parent = runs_of(tracking_uri)["small"].info.run_id
    changed = plan.study.model_copy(update={"seeds": (0, 1)})
    assert _drive(Plan(changed, plan.trials[:3]), full_store, tracking_uri)
    runs = runs_of(tracking_uri)
    assert set(runs) == {"cpggan 4 seed 0", "cpggan 8 seed 0", "gan cpggan", "none seed 0", "small"}
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs.values()} == {None, parent}
    tags = runs["small"].data.tags
    assert (tags["metsweep.trials"], tags["metsweep.seeds"]) == ("3", "0, 1")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    files = MlflowClient(tracking_uri, tracking_uri).list_artifacts(parent, "study")
    assert [entry.path for entry in files] == ["study/study-1.yaml", "study/study-2.yaml"]
