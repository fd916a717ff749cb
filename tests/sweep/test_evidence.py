"""Tables and pictures of a study of three arms and three seeds, from evaluations drawn at random on real slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sweep.plan import Plan, Trial
from sweep.report.evidence import Evidence
from sweep.report.evidence_tables import Section, sections
from sweep.report.report import Report, build_report
from sweep.store import Cost, Store
from tests.sweep.small_study import make, small_plan
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.evaluation.arms import Arm
from trainers.evaluation.evaluate import TABLES, truth_of
from trainers.evaluation.matching import DETECTION_COLUMNS
from trainers.evaluation.outcome import match_outcomes, outcome_tables
from trainers.evaluation.summary import summarise

SKILL = {"none 0": 0.3, "cpggan 4": 0.9, "cpggan 8": 0.35}


def evaluation(plan: Plan, store: Store, trial: Trial, slices: SliceSet) -> None:
    """Publish what a detector of some skill would find."""
    draw = np.random.default_rng((trial.seed, trial.count))
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for split in ("validation", "test"):
        truth = truth_of(slices, split, detector_rows(slices, split))
        rows = [
            (row["slice"], row["x0"], row["y0"], row["x1"], row["y1"], draw.uniform(0.5, 1))
            for row in truth.lesions.to_dict("records")
            if draw.random() < SKILL[f"{trial.variant} {trial.count}"]
        ]
        rows += [(i, 0, 0, 3, 3, draw.uniform(0.3, 0.9)) for i in range(len(truth.slices))]
        outcomes = match_outcomes(
            pd.DataFrame(rows, columns=list(DETECTION_COLUMNS)), truth, plan.study.evaluation.ious
        )
        for name, table in outcome_tables(outcomes).items():
            tables[name].append(table.assign(split=split))
    stage = trial.evaluate
    with store.writing(stage.name, stage.key) as folder:
        for name, parts in tables.items():
            pd.concat(parts).to_parquet(folder / f"{name}.parquet")
        metrics = dict.fromkeys(("validation", "test"), summarise(outcomes, plan.study.evaluation))
        (folder / "metrics.json").write_text(pd.Series(metrics).to_json())
        cost = Cost(requested=1.0, started=1.0, finished=2.0, peak_memory_bytes=1, host="here")
        store.publish(folder, stage.name, stage.key, stage.identity, cost)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    plan, store = small_plan(seeds=(0, 1, 2)), Store(tmp_path_factory.mktemp("store"))
    prepared = plan.trials[0].evaluate.detector.slices
    make(prepared, store)
    slices = open_slice_set(store.local / "prepare" / prepared.key)
    patients = slices.slices["patient_id"] + "-" + slices.slices["z"].astype(str)
    slices = SliceSet(slices.path, slices.images, slices.slices.assign(patient_id=patients), slices.boxes, slices.meta)
    for trial in plan.trials:
        if trial.variant != "image2image":
            evaluation(plan, store, trial, slices)
    return build_report(plan, store)


def section(report: Report, title: str) -> Section:
    return next(one for one in report.sections if one.title == title)


def test_every_table_is_there_for_both_ious(report: Report) -> None:
    titles = [one.title for one in report.sections]
    for iou in ("0.5", "0.25"):
        for title in (
            f"Gain in sensitivity over none, IoU {iou}",
            f"Sensitivity at given false positives per slice, IoU {iou}",
            f"Slices, whole lesions and chance, IoU {iou}",
        ):
            assert title in titles
    for one in report.sections:
        assert all(len(row) == len(one.columns) for row in one.rows)


def test_only_complete_arms_are_compared_with_the_real_only_one(report: Report) -> None:
    gains = section(report, "Gain in sensitivity over none, IoU 0.5")
    rows = {row[0]: row for row in gains.rows}
    assert list(rows) == ["cpggan 4", "cpggan 8"]
    assert float(rows["cpggan 4"][1].split()[0]) > 0.3
    assert "3 seeds" in section(report, "Gain in sensitivity over none, IoU 0.25").note, "once, below the last"
    assert float(rows["cpggan 8"][3]) >= float(rows["cpggan 8"][2]), "Holm never lowers a p"
    assert float(rows["cpggan 4"][3]) <= 2 * float(rows["cpggan 4"][2]) + 0.001
    sensitivity = section(report, "Slices, whole lesions and chance, IoU 0.5")
    assert [row[0] for row in sensitivity.rows] == ["none", "cpggan 4", "cpggan 8"]


def test_pictures_and_tables_are_written(report: Report, tmp_path: Path) -> None:
    written = {path.name for path in report.write(tmp_path)}
    assert written == {
        "report.md", "table1.csv", "froc_iou50.png", "froc_iou25.png", "confidence.png", "calibration.png",
        "gained.png",
    }  # fmt: skip
    text = (tmp_path / "report.md").read_text()
    for one in report.sections:
        assert f"## {one.title}" in text
    assert "![gained](figures/gained.png)" in text
    assert min(path.stat().st_size for path in (tmp_path / "figures").iterdir()) > 1000


def test_one_seed_says_what_it_cannot_tell(report: Report) -> None:
    assert report.evidence is not None
    config = report.evidence.config
    first = {
        iou: {name: Arm({0: arm.outcomes[0]}, config) for name, arm in arms.items()}
        for iou, arms in report.evidence.by_iou.items()
    }
    gains = sections(Evidence(config, first, report.evidence.metrics, report.evidence.slices))[1]
    assert "One seed: what is compared are these trained detectors" in gains.note
    assert [row[-1] for row in gains.rows] == ["-", "-"], "seeds needed are not known"
