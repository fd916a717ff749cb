"""Evaluations of detectors of known skill on real slices: what a report is made from, without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from search_spaces.study import Study
from sweep.plan import Plan, Trial
from sweep.stages import DetectorStage, EvaluateStage, Stage
from sweep.store import Cost, Store
from tests.sweep.small_study import make, small_plan
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.evaluation.evaluate import TABLES, truth_of
from trainers.evaluation.matching import DETECTION_COLUMNS
from trainers.evaluation.outcome import match_outcomes, outcome_tables
from trainers.evaluation.summary import summarise

Skill = Callable[[Trial], float]
SEARCH = {
    "space": {
        "variant": {"choice": ["cpggan", "image2image"]},
        "count": {"int": [4, 40], "step": 4},
        "detector.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    },
    "search": {"method": "tpe", "trials": 40},
    "constraints": [{"metric": "fps_per_slice", "at_most": 1.0}],
}  # fmt: skip


def prepared_slices(plan: Plan, store: Store) -> SliceSet:
    """The plan's slices, made if needed; every slice is a patient of its own."""
    prepared = plan.trials[0].evaluate.detector.slices
    if store.find("prepare", prepared.key) is None:
        make(prepared, store)
    slices = open_slice_set(store.local / "prepare" / prepared.key)
    patients = slices.slices["patient_id"] + "-" + slices.slices["z"].astype(str)
    return SliceSet(slices.path, slices.images, slices.slices.assign(patient_id=patients), slices.boxes, slices.meta)


def evaluate(plan: Plan, store: Store, trial: Trial, slices: SliceSet, skill: float) -> None:
    """Publish what a detector that finds each lesion with probability `skill` would find."""
    draw = np.random.default_rng((trial.seed, trial.count, trial.number or 0))
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    metrics = {}
    for split in ("validation", "test"):
        truth = truth_of(slices, split, detector_rows(slices, split))
        rows = [
            (row["slice"], row["x0"], row["y0"], row["x1"], row["y1"], draw.uniform(0.5, 1))
            for row in truth.lesions.to_dict("records")
            if draw.random() < skill
        ]
        rows += [(i, 0, 0, 3, 3, draw.uniform(0.3, 0.9)) for i in range(len(truth.slices))]
        found = pd.DataFrame(rows, columns=list(DETECTION_COLUMNS))
        outcomes = match_outcomes(found, truth, plan.study.evaluation.ious)
        metrics[split] = summarise(outcomes, plan.study.evaluation)
        for name, table in outcome_tables(outcomes).items():
            tables[name].append(table.assign(split=split))
    stage = trial.evaluate
    with store.writing(stage.name, stage.key) as folder:
        for name, parts in tables.items():
            pd.concat(parts).to_parquet(folder / f"{name}.parquet")
        (folder / "metrics.json").write_text(json.dumps(metrics))
        store.publish(folder, stage.name, stage.key, stage.identity, cost(1.0))


def spend(store: Store, stage: Stage, hours: float, cpus: float = 2, gpus: float = 1) -> None:
    """Publish an artifact without files that took so many hours."""
    if store.find(stage.name, stage.key) is None:
        with store.writing(stage.name, stage.key) as folder:
            store.publish(folder, stage.name, stage.key, stage.identity, cost(hours, cpus, gpus))


def cost(hours: float, cpus: float = 2, gpus: float = 1) -> Cost:
    """Of so many hours."""
    finished = 1.0 + 3600 * hours
    return Cost(requested=1.0, started=1.0, finished=finished, peak_memory_bytes=1, host="here", cpus=cpus, gpus=gpus)


def search_plan(drawn: int, seeds: Sequence[int] = (0, 1), **changes: object) -> Plan:
    """The small study's arms, and cells of SEARCH drawn at random beside them."""
    plan = small_plan(seeds=tuple(seeds), **{**SEARCH, **changes})
    draw = np.random.default_rng(0)
    like = {trial.variant: trial for trial in plan.trials if trial.seed == seeds[0]}
    trials = []
    for number in range(drawn):
        variant = str(draw.choice(["cpggan", "image2image"]))
        count = 4 * int(draw.integers(1, 11))
        rate = float(10 ** draw.uniform(-4, -2))
        trials += [_drawn(plan.study, like[variant], number, count, rate, seed) for seed in seeds]
    return Plan(plan.study, (*plan.trials, *trials))


def _drawn(study: Study, like: Trial, number: int, count: int, rate: float, seed: int) -> Trial:
    stage = like.evaluate.detector
    shards = tuple(replace(stage.shards[0], shard=shard) for shard in range(-(-count // study.synthesis.shard_size)))
    config = study.detector.model_copy(update={"seed": seed, "learning_rate": rate})
    detector = DetectorStage(config, stage.slices, shards, count)
    return Trial(
        like.variant,
        count,
        seed,
        EvaluateStage(study.evaluation, detector),
        params={"detector.learning_rate": rate},
        number=number,
    )
