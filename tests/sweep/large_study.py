"""A finished study of many trials as its launch would leave it, without training: what commands read of a large study.

Every artifact of the study is published with the files that reports read; the cells that its search drew are in
Optuna's database, and each trial has a run in MLflow beside runs of other studies.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from optuna.distributions import CategoricalDistribution
from sqlalchemy import create_engine, insert

from sweep.plan import Plan, Trial
from sweep.settings import Settings
from sweep.stages import PrepareStage, RealismStage, Stage
from sweep.store import MANIFEST, Cost, Store
from sweep.studies.launch_options import remember
from sweep.studies.opened import OpenedStudy, open_study
from sweep.studies.optuna_study import create_optuna_study, open_storage
from sweep.studies.records import LaunchOptions, Status
from sweep.tracking.mlflow_client import connect
from sweep.tracking.tags import ARM, DETECTOR_KEY, FIDELITY, GAN_KEY, KIND, PARENT_RUN, STAGE_KEY, VARIANT, WRITTEN
from tests.sweep.evaluated import evaluate
from tests.trainers.data.phantom import make_cohort
from tests.trainers.disc_slices import make_slice_set
from trainers.data.slice_set import SliceSet
from trainers.evaluation.realism.report import FILE

NAME = "large"
VARIANTS = ("cpggan", "cpggan+normal", "image2image")
COUNTS = [4000, 8000, 12000]
EVALUATIONS = 8
HOST = "node"
METRICS, PARAMS, TAGS = 22, 7, 18
"""Of a trial's run in MLflow, as the demo's runs have them."""


def write_study(folder: Path, seeds: int, drawn: int = 0) -> Path:
    """A study file of Table 1's ten arms and `drawn` cells of a search, each with so many seeds, and its cohort."""
    cohort = make_cohort(folder / "cohort", patients=10, normals=2)
    values = {
        "name": NAME,
        "cohort": str(cohort),
        "fidelity": "laptop",
        "arms": [{"variant": "none"}, *({"variant": name, "counts": COUNTS} for name in VARIANTS)],
        "seeds": list(range(seeds)),
    }
    search = {
        "space": {
            "variant": {"choice": list(VARIANTS)},
            "count": {"int": [1000, 12000], "step": 1000},
            "detector.learning_rate": {"float": [1e-4, 1e-2], "log": True},
        },
        "search": {"method": "tpe", "trials": drawn},
    }
    values |= search if drawn else {}
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def finish(study: Path, settings: Settings, scratch: Path, evaluations: int = EVALUATIONS) -> OpenedStudy:
    """Draw the study's cells, and publish all that its launch would have made.

    Args:
        scratch: an empty folder.
        evaluations: how many differ, each a second of work; all trials have copies of them.
    """
    opened = open_study(str(study), LaunchOptions(), settings, lambda _: None, launched=False)
    if opened.study.search.draws:
        _draw(opened)
    plan, store = opened.plan(), opened.store
    files = _files_of(plan, scratch, evaluations)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda stage: _publish(stage, store, files[stage.key]), plan.stages.values()))
    now = time.time()
    opened.record.keep_study(opened.study)
    opened.record.keep_needs(plan)
    opened.record.keep_status(Status(updated=now, began=now - 3600, host=HOST, pid=1, finished=True))
    remember(str(study), LaunchOptions(), opened.resolved, store, settings.optuna_storage)
    return opened


def _draw(opened: OpenedStudy) -> None:
    study, draw = opened.study, np.random.default_rng(0)
    optuna_study = create_optuna_study(study, open_storage(opened.settings.optuna_storage))
    dimensions = {key: dimension.distribution() for key, dimension in study.space.items()}
    for _ in range(study.search.trials):
        params = {"variant": str(draw.choice(VARIANTS)), "count": 1000 * int(draw.integers(1, 13))}
        params["detector.learning_rate"] = float(10 ** draw.uniform(-4, -2))
        distributions = {**dimensions, "variant": CategoricalDistribution(VARIANTS)}
        optuna_study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=float(draw.uniform(0.4, 0.6)))
        )


def _files_of(plan: Plan, scratch: Path, evaluations: int) -> dict[str, Path]:
    """Stage key -> folder with the files of its artifact."""
    other, realism = scratch / "other", scratch / "realism"
    slices = make_slice_set(scratch / "prepared", {"train": 60, "validation": 40, "test": 80})
    patients = slices.slices["patient_id"] + "-" + slices.slices["z"].floordiv(5).astype(str)
    slices = SliceSet(slices.path, slices.images, slices.slices.assign(patient_id=patients), slices.boxes, slices.meta)
    other.mkdir()
    for name in ("history.jsonl", "weights.pt", "selection.json", "config.yaml"):
        (other / name).write_text(name)
    files: dict[str, Path] = {}
    for number, trial in enumerate(plan.trials):
        files[trial.evaluate.key] = scratch / f"evaluation-{number % evaluations}"
        if number < evaluations:
            _evaluate(plan, trial, slices, 0.5 + 0.05 * number, scratch, files[trial.evaluate.key])
    for key, stage in plan.stages.items():
        if isinstance(stage, PrepareStage):
            files[key] = slices.path
        elif isinstance(stage, RealismStage):
            files[key] = realism / stage.key
            _judge(stage, files[key])
        else:
            files.setdefault(key, other)
    return files


def _evaluate(plan: Plan, trial: Trial, slices: SliceSet, skill: float, scratch: Path, out: Path) -> None:
    local = Store(scratch / "evaluated")
    evaluate(plan, local, trial, slices, skill)
    shutil.copytree(local.local / "evaluate" / trial.evaluate.key, out, ignore=shutil.ignore_patterns(MANIFEST))


def _judge(stage: RealismStage, out: Path) -> None:
    report = json.loads((Path(__file__).parent / "made_before" / FILE).read_text())
    (figures,) = list(report["synthetic"].values())[:1]
    report["synthetic"] = {stage.source.variant: figures}
    out.mkdir(parents=True)
    (out / FILE).write_text(json.dumps(report))


def _publish(stage: Stage, store: Store, files: Path) -> None:
    now = time.time()
    cost = Cost(
        requested=now - 70, started=now - 60, finished=now, peak_memory_bytes=10**9, host=HOST, cpus=1.0, gpus=0.0
    )
    store.publish(files, stage.name, stage.key, stage.identity, cost)


def fill_mlflow(database: str, plan: Plan, others: int) -> None:
    """A run of each trial and source in the study's experiment, and `others` runs in eight experiments more.

    Rows are inserted as MLflow's own tables say, a thousand at once: by its client they would take minutes.

    Args:
        database: URI of MLflow's database, which no server need show.
    """
    client = connect(database)
    own = client.create_experiment(plan.study.name)
    parent = uuid.uuid4().hex
    tags = [(parent, {KIND: "sweep", FIDELITY: plan.study.fidelity})]
    for trial in plan.trials:
        of_trial = {KIND: "trial", ARM: trial.arm, VARIANT: trial.variant, DETECTOR_KEY: trial.evaluate.detector.key}
        of_trial |= {GAN_KEY: trial.source.key} if trial.source else {}
        tags.append((uuid.uuid4().hex, {**of_trial, STAGE_KEY: trial.evaluate.key, PARENT_RUN: parent}))
    tags += [(uuid.uuid4().hex, {KIND: "gan", STAGE_KEY: key, PARENT_RUN: parent}) for key in plan.sources]
    _insert(database, own, tags)
    for number in range(8):
        experiment = client.create_experiment(f"other {number}")
        keys = [uuid.uuid4().hex * 2 for _ in range(others // 8)]
        _insert(database, experiment, [(uuid.uuid4().hex, {KIND: "trial", STAGE_KEY: key}) for key in keys])


def _insert(database: str, experiment: str, runs: list[tuple[str, dict[str, str]]]) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun, SqlTag

    started = round(time.time() * 1000)
    rows: dict[Any, list[Mapping[str, Any]]] = {SqlRun: [], SqlTag: [], SqlParam: [], SqlLatestMetric: []}
    for number, (run, tags) in enumerate(runs):
        more = {f"tag{i}": f"value {i}" for i in range(TAGS - len(tags) - 1)}
        rows[SqlRun].append(
            {
                "run_uuid": run, "name": f"run {number}", "experiment_id": int(experiment), "status": "FINISHED",
                "source_type": "LOCAL", "start_time": started + number, "end_time": started + number,
                "lifecycle_stage": "active", "artifact_uri": f"mlflow-artifacts:/{experiment}/{run}/artifacts",
                "user_id": "someone",
            }
        )  # fmt: skip
        written = {WRITTEN: "detector,evaluate"}
        rows[SqlTag] += [{"run_uuid": run, "key": key, "value": text} for key, text in (tags | more | written).items()]
        rows[SqlParam] += [{"run_uuid": run, "key": f"detector.param{i}", "value": f"{i}"} for i in range(PARAMS)]
        rows[SqlLatestMetric] += [
            {
                "run_uuid": run, "key": f"validation/metric{i}", "value": i / 7, "timestamp": started, "step": 1,
                "is_nan": False,
            }
            for i in range(METRICS)
        ]  # fmt: skip
    engine = create_engine(database)
    with engine.begin() as connection:
        for table, values in rows.items():
            for part in _parts(values):
                connection.execute(insert(table), part)
    engine.dispose()


def _parts(rows: list[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    for first in range(0, len(rows), 1000):
        yield rows[first : first + 1000]
