"""A search of many cells, as a launch left it: evaluations in the store, cells in Optuna's database."""

from __future__ import annotations

import shutil
from pathlib import Path

from sweep.plan import Plan, Trial
from sweep.settings import Settings
from sweep.store import Store
from sweep.studies.optuna_study import create_optuna_study, open_storage
from sweep.studies.records import StudyRecord
from tests.sweep.evaluated import evaluate, prepared_slices, search_plan
from tests.sweep.publishing import publishing

DISTINCT = 3
"""Evaluations that are made; the other cells get copies of their figures, which takes far less time."""


def make_search(folder: Path, cells: int) -> Settings:
    """A study of four arms and so many drawn cells, each with one seed and evaluated."""
    plan = search_plan(cells, seeds=(0,), search={"method": "tpe", "trials": cells})
    store = Store(folder / "store")
    slices = prepared_slices(plan, store)
    made = plan.trials[: 4 + DISTINCT]
    for trial in made:
        evaluate(plan, store, trial, slices, 0.3 if trial.variant == "none" else 0.6)
    sources = [store.find(trial.evaluate.name, trial.evaluate.key) for trial in made[4:]]
    for i, trial in enumerate(plan.trials[len(made) :]):
        source = sources[i % DISTINCT]
        assert source is not None
        with publishing(store, trial.evaluate) as files:
            shutil.copy(source.path / "metrics.json", files)
    record = StudyRecord(store, plan.study.name)
    record.keep_study(plan.study)
    record.keep_needs(plan)
    storage = f"sqlite:///{folder}/optuna.db"
    _draw(plan, storage)
    return Settings(store=store.uri, optuna_storage=storage, tracking_uri=f"sqlite:///{folder}/mlflow.db")


def _draw(plan: Plan, storage: str) -> None:
    """Record the drawn cells as Optuna's trials."""
    import optuna

    optuna_study = create_optuna_study(plan.study, open_storage(storage))
    distributions = {key: dimension.distribution() for key, dimension in plan.study.space.items()}
    optuna_study.add_trials(
        [
            optuna.trial.create_trial(params=_params(trial), distributions=distributions, value=0.5)
            for trial in plan.trials
            if trial.number is not None
        ]
    )


def _params(trial: Trial) -> dict[str, object]:
    return {"variant": trial.variant, "count": trial.count, **trial.params}
