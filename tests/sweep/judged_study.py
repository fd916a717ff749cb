"""The small study with what promotion reads: several seeds, realism of its GANs, and figures that a test sets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweep.plan import Plan, Trial
from sweep.stages import RealismStage
from sweep.store import MANIFEST, Artifact, Store
from tests.sweep.publishing import publish_copy
from tests.sweep.small_study import make, plan_of, small_study
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.metrics_file import Summary
from trainers.evaluation.outcome import Outcome, Truth, match_outcomes, outcome_tables
from trainers.evaluation.outcome_files import TABLES, read_outcomes
from trainers.evaluation.realism.memorisation import Verdict
from trainers.evaluation.summary import summarise
from trainers.matching import DETECTION_COLUMNS

REALISM: dict[str, Any] = {
    "slices": 12, "patches": 4, "projections": 8, "pairs": 8, "placements": 3, "permutations": 100, "embedded": 6,
    "iterations": 250, "kid_subsets": 3, "extractors": ["wavelet"],
}  # fmt: skip


def judged_plan(seeds: tuple[int, ...]) -> Plan:
    """The plan of the small study, whose first trial of each GAN also judges its slices."""
    return plan_of(small_study(seeds=seeds, realism=REALISM))


def complete(plan: Plan, store: Store) -> None:
    """Make what a plan lacks, by the real trainers; the evaluations of later seeds are copies of the first one's.

    `set_found` gives them figures of their own.
    """
    later = {trial.evaluate.key for trial in plan.trials if trial.seed != plan.study.seeds[0]}
    unneeded = later | {trial.evaluate.detector.key for trial in plan.trials if trial.evaluate.key in later}
    for key, stage in plan.missing(store).items():
        if key not in unneeded:
            make(stage, store)
    first = {trial.arm: trial for trial in reversed(plan.trials)}
    for trial in plan.trials:
        if trial.evaluate.key in later:
            _copy_evaluation(store, first[trial.arm], trial)


def with_drawn(plan: Plan, store: Store, arm: str, cells: int) -> Plan:
    """The plan with cells drawn that differ from one of its arms, whose evaluations they get, in a hyperparameter."""
    drawn = []
    for number in range(cells):
        for like in (trial for trial in plan.trials if trial.arm == arm):
            stage, rate = like.evaluate.detector, 1e-3 / (number + 2)
            detector = replace(stage, config=stage.config.model_copy(update={"learning_rate": rate}))
            params = {"detector.learning_rate": rate}
            evaluate = replace(like.evaluate, detector=detector)
            drawn.append(replace(like, evaluate=evaluate, realism=None, params=params, number=number))
            _copy_evaluation(store, like, drawn[-1])
    return Plan(plan.study, (*plan.trials, *drawn))


def _copy_evaluation(store: Store, of: Trial, to: Trial) -> None:
    source = store.find("evaluate", of.evaluate.key)
    assert source is not None
    publish_copy(store, to.evaluate, source)


def copied(store: Store, folder: Path) -> Store:
    """The same artifacts in another folder, whose figures a test may change."""
    shutil.copytree(store.local, folder)
    return Store(folder)


@contextmanager
def rewriting(store: Store, artifact: Artifact) -> Iterator[Path]:
    """A copy of an artifact's files to change; it takes the artifact's place when the block ends."""
    made = artifact.manifest
    with store.writing(made.stage, made.key) as folder:
        shutil.copytree(artifact.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        yield folder
        store.set_aside(artifact, "rewritten by a test")
        store.publish(folder, made.stage, made.key, made.identity, made.cost)


def set_found(store: Store, trial: Trial, found: Mapping[str, int], fps: int = 1) -> None:
    """Rewrite what a trial's detector found, every slice being of a patient of its own.

    Args:
        found: split -> how many of its lesions are found; the validation split has 4.
        fps: false positives on every slice.
    """
    artifact = store.find("evaluate", trial.evaluate.key)
    assert artifact is not None
    config = trial.evaluate.config
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    metrics = {}
    for split in ("validation", "test"):
        outcomes = _outcomes(
            read_outcomes(artifact.path, split, config.ious)[0.5].truth, found[split], fps, config.ious
        )
        metrics[split] = _summary(outcomes, config, (split, found[split], fps))
        for name, table in outcome_tables(outcomes).items():
            tables[name].append(table.assign(split=split))
    with rewriting(store, artifact) as folder:
        for name, parts in tables.items():
            pd.concat(parts, ignore_index=True).to_parquet(folder / f"{name}.parquet", index=False)
        (folder / "metrics.json").write_text(json.dumps(metrics))


_SUMMARIES: dict[object, dict[str, Summary]] = {}


def _summary(outcomes: dict[float, Outcome], config: EvaluationConfig, what: object) -> dict[str, Summary]:
    """`summarise`, which takes a second, once for the same outcomes."""
    if what not in _SUMMARIES:
        _SUMMARIES[what] = summarise(outcomes, config)
    return _SUMMARIES[what]


def _outcomes(truth: Truth, found: int, fps: int, ious: tuple[float, ...]) -> dict[float, Outcome]:
    truth = Truth(truth.slices.assign(patient_id=truth.slices["slice_id"]), truth.lesions)
    hits = truth.lesions.head(found)[["slice", "x0", "y0", "x1", "y1"]].assign(confidence=0.9)
    misses = pd.DataFrame(
        [(i, 0, 0, 2, 2, 0.8) for i in range(len(truth.slices)) for _ in range(fps)], columns=list(DETECTION_COLUMNS)
    )
    rows = pd.concat([hits, misses], ignore_index=True).astype(dict.fromkeys(("x0", "y0", "x1", "y1"), np.float64))
    return match_outcomes(rows.astype({"slice": np.int64}), truth, ious)


def set_realism(
    store: Store,
    plan: Plan,
    verdict: Verdict = Verdict.NO_SIGN,
    p: float = 0.6,
    copies: int = 0,
    boxes: tuple[float, float, float] = (0.8, 0.1, 0.9),
) -> None:
    """Rewrite what is told of every GAN: the memorisation test, and the boxes found.

    Args:
        boxes: share of conditioning boxes, of boxes at random places and of real lesions that is found.
    """
    for stage in plan.stages.values():
        artifact = store.find(stage.name, stage.key)
        if not isinstance(stage, RealismStage) or artifact is None:
            continue
        report = json.loads((artifact.path / "realism.json").read_text())
        told = report["synthetic"][stage.source.variant]
        told["memorisation"] |= {"verdict": verdict, "p": p, "copies": copies}
        for fidelity in told["box_fidelity"].values():
            for what, recall in zip(("conditioned", "random", "real"), boxes, strict=True):
                fidelity[what] = {"recall": recall, "interval": [recall - 0.05, recall + 0.05]}
        with rewriting(store, artifact) as folder:
            (folder / "realism.json").write_text(json.dumps(report))
