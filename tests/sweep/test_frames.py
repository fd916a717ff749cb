"""A study's results as data frames agree with its report, and the notebook that shows them runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from sweep.frames import StudyFrames, open_study
from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.source_files import ROOT
from tests.sweep.evaluated import evaluate, prepared_slices
from tests.sweep.small_study import small_plan
from trainers.detector.dataset import detector_rows
from trainers.exceptions import ConfigError, StoreError

SKILL = {"none": 0.3, "cpggan 4": 0.9}
NOTEBOOK = ROOT / "dashboards" / "notebooks" / "compare.ipynb"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A launched study, two of whose four arms are evaluated with two seeds."""
    plan, store = small_plan(seeds=(0, 1)), Store(tmp_path_factory.mktemp("store"))
    slices = prepared_slices(plan, store)
    for trial in plan.trials:
        if trial.arm in SKILL:
            evaluate(plan, store, trial, slices, SKILL[trial.arm])
    record = StudyRecord(store, "small")
    record.keep_study(plan.study)
    record.keep_needs(plan)
    return store


@pytest.fixture(scope="module")
def study(store: Store) -> StudyFrames:
    return open_study("small", store.uri)


def test_outcomes_and_detections_give_the_figures_of_table_1(study: StudyFrames) -> None:
    trials = study.trials().set_index(["arm", "seed", "split", "iou"]).to_dict("index")
    for split in ("test", "validation"):
        for iou in (0.5, 0.25):
            outcomes, detections = study.outcomes(split, iou), study.detections(split, iou)
            found = outcomes.groupby(["arm", "seed"])["found"].mean()
            wrong = detections[detections["shown"] & ~detections["hit"]].groupby(["arm", "seed"]).size()
            slices = detector_rows(study.slices(), split)
            for arm, seed in found.index:
                figures = trials[arm, seed, split, iou]
                assert found[arm, seed] == pytest.approx(figures["sensitivity"])
                assert wrong[arm, seed] / len(slices) == pytest.approx(figures["fps_per_slice"])
    assert set(study.trials()["arm"]) == set(SKILL)


def test_arms_and_tables_are_those_of_the_report(study: StudyFrames) -> None:
    arms = study.arms().set_index("arm")
    assert list(arms.index) == ["none", "cpggan 4", "cpggan 8", "image2image 4"]
    by_trial = study.trials().query("split == 'test' and iou == 0.5").groupby("arm")["sensitivity"].mean()
    assert arms.loc["cpggan 4", "test_sensitivity_iou50"] == pytest.approx(by_trial["cpggan 4"])
    gain = study.table("gain_iou50").set_index("arm").loc["cpggan 4", "gain"]
    assert gain == pytest.approx(by_trial["cpggan 4"] - by_trial["none"])


def test_rows_name_patient_and_box(study: StudyFrames) -> None:
    outcomes = study.outcomes(arms=["none"])
    assert set(outcomes["arm"]) == {"none"}
    slices = study.slices().slices.set_index("slice_id")
    assert (slices.loc[outcomes["slice_id"], "z"].to_numpy() == outcomes["z"].to_numpy()).all()
    assert (outcomes["confidence"].notna() >= outcomes["found"]).all()
    assert {"patient_id", "x0", "y1", "diameter_mm", "found"} <= set(outcomes.columns)


def test_what_the_study_lacks_is_refused(study: StudyFrames, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="arm: 'cpgan 4' is not in the study; allowed: 'none', 'cpggan 4'"):
        study.outcomes(arms=["cpgan 4"])
    with pytest.raises(ConfigError, match=r"iou: 0.4 .* allowed: 0.5, 0.25"):
        study.detections(iou=0.4)
    with pytest.raises(ConfigError, match="split: 'train'"):
        study.outcomes("train")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match=r"'gains' is not a table .* allowed: gain_iou50"):
        study.table("gains")
    with pytest.raises(StoreError, match="No trial of study small is evaluated: image2image 4"):
        study.outcomes(arms=["image2image 4"])
    with pytest.raises(ConfigError, match="METSWEEP_STORE"):
        open_study("small", tmp_path / "nowhere")


def test_the_notebook_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METSWEEP_STORE", store.uri)
    mpl.use("Agg")
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for source in sources:
        exec(compile(source.replace('"quickstart"', '"small"'), "compare.ipynb", "exec"), names)
    assert names["chosen"] == "cpggan 4"
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code"), "results are the reader's own"
