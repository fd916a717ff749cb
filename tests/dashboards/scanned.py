"""A launched study on volumes in files, prepared as any, whose evaluations say what a test chooses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from search_spaces.study import Study
from sweep.plan import Plan
from sweep.plan.plan import make_trial_maker, plan_with
from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.sweep.publishing import publishing
from tests.sweep.small_study import small_study, without_realism
from tests.trainers.data.phantom import make_cohort, read_manifest, save, stripped_brain, write_manifest
from trainers.data.cohort import open_cohort
from trainers.data.prepare import prepare
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.evaluation.evaluate import SPLITS, truth_of
from trainers.evaluation.outcome import Truth, match_outcomes, outcome_tables
from trainers.evaluation.outcome_files import TABLES
from trainers.evaluation.summary import summarise

FALSE = (4.0, 6.0, 14.0, 12.0)
"""A false positive on every slice, pixels."""
AXES = "PSR"
"""Of the voxels in each file: none of them is canonical."""


def make_scanned(folder: Path) -> None:
    """The study `small` in `folder`/store, on the volumes of three patients.

    Detectors of `none` find nothing. Those of `cpggan 4` find each lesion on its middle slice alone, at confidence 0.9,
    and have FALSE on every slice, at 0.6.
    """
    cohort = make_cohort(folder / "cohort", normals=0)
    subjects = read_manifest(cohort)
    for number, subject in enumerate(subjects):
        save(cohort / subject["volume"], stripped_brain(number), AXES)
    write_manifest(cohort, subjects)
    study = scanned_study(cohort)
    plan = without_realism(plan_with(make_trial_maker(study), study, []))
    store = Store(folder / "store")
    slices = _prepared(plan, store)
    for trial, finds in zip(plan.trials, (False, True), strict=True):
        with publishing(store, trial.evaluate) as out:
            _evaluate(slices, plan, finds, out)
    record = StudyRecord(store, study.name)
    record.keep_study(study)
    record.keep_needs(plan)


def scanned_study(cohort: Path) -> Study:
    """That study."""
    return small_study(cohort=str(cohort), arms=[{"variant": "none"}, {"variant": "cpggan", "counts": [4]}])


def _prepared(plan: Plan, store: Store) -> SliceSet:
    stage = plan.trials[0].evaluate.detector.slices
    with publishing(store, stage) as out:
        prepare(open_cohort(stage.cohort), stage.config, out, lambda *_: None)
    artifact = store.find(stage.name, stage.key)
    assert artifact is not None
    return open_slice_set(artifact.path)


def _evaluate(slices: SliceSet, plan: Plan, finds: bool, out: Path) -> None:
    config = plan.study.evaluation
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    metrics = {}
    for split in SPLITS:
        truth = truth_of(slices, split, detector_rows(slices, split))
        outcomes = match_outcomes(_detections(truth, finds), truth, config.ious)
        metrics[split] = summarise(outcomes, config)
        for name, table in outcome_tables(outcomes).items():
            tables[name].append(table.assign(split=split))
    for name, parts in tables.items():
        pd.concat(parts, ignore_index=True).to_parquet(out / f"{name}.parquet", index=False)
    (out / "metrics.json").write_text(json.dumps(metrics))


def _detections(truth: Truth, finds: bool) -> pd.DataFrame:
    corners = ["x0", "y0", "x1", "y1"]
    middles = truth.lesions.groupby("lesion").nth(1)[["slice", *corners]].assign(confidence=0.9)
    false = pd.DataFrame(
        [(i, *FALSE, 0.6) for i in range(len(truth.slices))], columns=["slice", *corners, "confidence"]
    )
    rows = pd.concat([middles, false], ignore_index=True)[: None if finds else 0]
    return rows.astype({"slice": np.int64, **dict.fromkeys((*corners, "confidence"), np.float64)})
