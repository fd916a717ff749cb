"""A search for good synthetic slices from its launch on Ray to Optuna, status, report and MLflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

from sweep.console import TextConsole
from sweep.engine.launch import launch
from sweep.report.report import write_report
from sweep.store import Store
from sweep.studies.optuna_study import plan_drawn, read_drawn
from sweep.studies.overview import Observer
from tests.sweep import conftest
from tests.sweep.fixed_time import timed_study, wasserstein
from tests.sweep.task_stages import SECONDS, make_task_maker, set_seconds, settings_in

empty_database = conftest.empty_database


@pytest.mark.slow
def test_a_search_finds_the_gan_with_the_closest_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path
) -> None:
    shutil.copy(empty_database, tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv(SECONDS, "")
    set_seconds({})
    study = timed_study(
        tmp_path,
        name="slices",
        arms=[{"variant": "none"}],
        space={
            "variant": {"choice": ["cpggan", "image2image"]},
            "count": {"choice": [400]},
            "gan.learning_rate": {"float": [1e-4, 1e-2], "log": True},
        },
        search={"method": "random", "trials": 2},
        objectives=[{"metric": "sliced_wasserstein", "direction": "minimize"}],
    )
    settings = settings_in(tmp_path)
    with (tmp_path / "output.txt").open("w") as output:
        launched = launch(study, settings, TextConsole(file=output), write_report, maker=make_task_maker)
    assert launched.failed == {}

    drawn = read_drawn(study, settings.optuna_storage)
    plan = plan_drawn(make_task_maker(study), study, drawn)
    store = Store(settings.store)
    distances = {trial.name: wasserstein(trial.realism) for trial in plan.trials if trial.realism}
    assert len(distances) == 2
    told = optuna.load_study(study_name="slices", storage=settings.optuna_storage)
    assert sorted(trial.value for trial in told.trials if trial.value) == pytest.approx(sorted(distances.values()))
    best = min(distances, key=lambda name: distances[name])
    overview = Observer(study, store).look(plan, drawn)
    assert overview.best == (best.removesuffix(" seed 0"), pytest.approx(distances[best]))
    client = MlflowClient(settings.tracking_uri)
    experiment = client.get_experiment_by_name("slices")
    assert experiment
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`metsweep.best_trial` != ''")
    assert parent.data.tags["metsweep.best_trial"] == best
    assert parent.data.metrics["realism/sliced_wasserstein"] == pytest.approx(distances[best])
