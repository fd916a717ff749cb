"""Evaluations of detectors of known skill on real slices: what a report is made from, without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from search_spaces.cell import Cell
from sweep.plan import Plan, Trial
from sweep.stages import Stage
from sweep.store import Cost, Store
from tests.sweep.publishing import cost_of, publish_empty, publishing
from tests.sweep.small_study import make, plan_of, small_study, without_realism
from tests.sweep.summaries import summary
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.evaluation.evaluate import truth_of
from trainers.evaluation.outcome import match_outcomes, outcome_tables
from trainers.evaluation.outcome_files import TABLES
from trainers.evaluation.summary import summarise
from trainers.matching import DETECTION_COLUMNS
from trainers.variants import Variant

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
    with publishing(store, trial.evaluate, cost(1.0)) as folder:
        for name, parts in tables.items():
            pd.concat(parts).to_parquet(folder / f"{name}.parquet")
        (folder / "metrics.json").write_text(json.dumps(metrics))


def put(store: Store, trial: Trial, test: float, validation: float = 0.5, fps: float = 2.0) -> None:
    """Publish an evaluation with these sensitivities (at IoU 0.25: 0.1 more)."""

    def figures(sensitivity: float) -> dict[str, Any]:
        return summary(sensitivity, fps, lesions=3094, slices=947, patients=2)

    metrics = {
        split: {"iou50": figures(value), "iou25": figures(value + 0.1)}
        for split, value in (("test", test), ("validation", validation))
    }
    with publishing(store, trial.evaluate) as folder:
        (folder / "metrics.json").write_text(json.dumps(metrics))


def spend(store: Store, stage: Stage, hours: float, cpus: float = 2, gpus: float = 1) -> None:
    """Publish an artifact without files that took so many hours."""
    if store.find(stage.name, stage.key) is None:
        publish_empty(store, stage, cost(hours, cpus, gpus))


def cost(hours: float, cpus: float = 2, gpus: float = 1) -> Cost:
    """Of so many hours."""
    return cost_of(3600 * hours, cpus=cpus, gpus=gpus)


def search_plan(drawn: int, seeds: Sequence[int] = (0, 1), **changes: object) -> Plan:
    """The small study's arms, and cells of SEARCH drawn at random beside them."""
    draw = np.random.default_rng(0)
    cells = []
    for number in range(drawn):
        variant: Variant = draw.choice(["cpggan", "image2image"])
        count = 4 * int(draw.integers(1, 11))
        rate = float(10 ** draw.uniform(-4, -2))
        cells.append((number, Cell(variant, count, (("detector.learning_rate", rate),))))
    return without_realism(plan_of(small_study(seeds=tuple(seeds), **{**SEARCH, **changes}), cells))
