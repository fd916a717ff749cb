"""Studies whose trials run once per fold: their plan, and what report, frames, runs and commands make of it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sweep.frames import StudyFrames
from sweep.plan import Plan
from sweep.registry.selection import ranking
from sweep.report.report import Report, build_report
from sweep.report.results import read_results
from sweep.store import Store
from sweep.tracking.run_content import trial_content
from sweep.tracking.source_content import source_content
from tests.sweep.evaluated import evaluate
from tests.sweep.fixed_time import write_history
from tests.sweep.judged_study import copied
from tests.sweep.plans import make_plan
from tests.sweep.publishing import publishing
from tests.sweep.small_study import make, plan_of, small_plan, small_study, without_realism
from tests.sweep.without_ray import Sweep
from tests.trainers.data.tiny_cohort import make_tiny_cohort
from tests.trainers.detector.selected import SELECTED
from trainers.data.cohort import open_cohort
from trainers.data.slice_set import open_slice_set
from trainers.data.stratified import in_folds, read_profiles
from trainers.detector.selection import write_selection
from trainers.exceptions import CohortError, ConfigError

ARMS = [{"variant": "none"}, {"variant": "cpggan", "counts": [4]}]
PATIENTS, FOLDS = 9, 3


def test_every_trial_runs_once_per_fold_with_sources_of_its_own() -> None:
    plan = plan_of(small_study(arms=ARMS, seeds=(0, 1), folds=FOLDS))
    assert [trial.name for trial in plan.cells["none"]] == [
        f"none seed {seed} fold {fold}" for seed in (0, 1) for fold in (1, 2, 3)
    ]
    assert Counter(stage.name for stage in plan.stages.values() if stage.name != "synthesize") == {
        "prepare": 3, "gan": 3, "detector": 12, "evaluate": 12, "realism": 3,
    }  # fmt: skip
    for trial in plan.trials:
        slices = trial.evaluate.detector.slices
        assert slices.config.fold is not None
        assert slices.config.fold.number == trial.fold
        made_for = [stage for stage in trial.stages.values() if stage.name in ("gan", "synthesize", "realism")]
        assert {
            prepared.key for stage in made_for for prepared in stage.inputs_first() if prepared.name == "prepare"
        } <= {slices.key}
        assert all(f"fold {trial.fold}" in stage.label for stage in trial.stages.values())


def test_numbers_of_patients_and_feedback_stay_within_the_fold() -> None:
    arms = [
        {"variant": "none"},
        {"variant": "none", "train_patients": [2]},
        {"variant": "cpggan+detector", "counts": [4]},
    ]
    for trial in plan_of(small_study(arms=arms, folds=FOLDS)).trials:
        folds = [stage.config.fold for stage in trial.stages.values() if stage.name == "prepare"]  # type: ignore
        assert {fold.number for fold in folds} == {trial.fold}
        assert trial.evaluate.detector.slices.config.train_patients == trial.train_patients


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 2}, "greater than or equal to 3"),
        ({"folds": 3, "seeds": [0, 1], "search": {"method": "race"}}, "folds are for enumerated arms .* got 'race'"),
        (
            {"folds": 3, "space": {"count": {"int": [4, 8]}}, "search": {"method": "tpe"}, "arms": ARMS},
            "folds are for enumerated arms .* got 'tpe'",
        ),
        ({"folds": 3, "prepare": {"size": 32, "fold": {"number": 1, "of": 3}}}, "is one fold alone, but the study has"),
        ({"prepare": {"size": 32, "fold": {"number": 4, "of": 3}}}, "number is 4; allowed: up to 3"),
        ({"folds": 1000, "seeds": tuple(range(60))}, "times 1000 folds are 240,000 trials"),
    ],
)
def test_what_needs_one_split_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        small_study(**changes)


def test_nothing_is_promoted_from_folds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 3 folds: .* Promote from a study without folds"):
        ranking(small_plan(folds=FOLDS), Store(tmp_path))


def test_a_launch_runs_them_all_and_records_an_arm_once(tmp_path: Path) -> None:
    one_seed = {"arms": ARMS[:1], "space": {}, "search": {}, "folds": FOLDS}
    assert Sweep(tmp_path, **one_seed).run() == [f"none seed 0 fold {fold}" for fold in (1, 2, 3)]
    again = Sweep(tmp_path, **one_seed, seeds=[0, 1])
    assert again.run() == [f"none seed 1 fold {fold}" for fold in (1, 2, 3)], "what is done is not done again"
    assert [len(one.user_attrs["metsweep.evaluations"]) for one in again.told] == [3, 6]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cohort(tmp_path_factory.mktemp("folds") / "cohort", PATIENTS, normals=1)


@pytest.fixture(scope="module")
def plan(folder: Path) -> Plan:
    return without_realism(make_plan(small_study(arms=ARMS, seeds=(0, 1), folds=FOLDS, cohort=str(folder))))


@pytest.fixture(scope="module")
def store(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Detectors of real slices find half of the lesions, the others nearly all; those of fold 2 find less."""
    store = Store(tmp_path_factory.mktemp("store"))
    for stage in plan.stages.values():
        if stage.name == "prepare":
            make(stage, store, discs=False)
    for trial in plan.trials:
        slices = open_slice_set(store.local / "prepare" / trial.evaluate.detector.slices.key)
        evaluate(plan, store, trial, slices, {"none": 0.5, "cpggan": 0.95}[trial.variant] - 0.2 * (trial.fold == 2))
    return store


def test_splits_are_those_of_cohort_split_and_no_patient_leaks(plan: Plan, store: Store, folder: Path) -> None:
    cohort = open_cohort(folder)
    assert {subject.split for subject in cohort.subjects} == {"train", "validation", "test"}, "folds override these"
    divided = in_folds(cohort, read_profiles(cohort, lambda *_: None), FOLDS, plan.study.prepare.seed)
    tested: list[str] = []
    for trial, expected in zip(plan.trials[:FOLDS], divided, strict=True):
        slices = open_slice_set(store.local / "prepare" / trial.evaluate.detector.slices.key).slices
        split_of = dict(zip(slices["patient_id"], slices["split"], strict=True))
        assert split_of == {subject.patient_id: subject.split for subject in expected.subjects}
        tested += [patient for patient, split in split_of.items() if split == "test"]
        gan = next(one for one in plan.trials if one.variant == "cpggan" and one.fold == trial.fold).gan
        assert gan is not None
        assert gan.slices.key == trial.evaluate.detector.slices.key, "which holds training patients of this fold alone"
    assert sorted(tested) == [f"P{number:03d}" for number in range(1, PATIENTS + 1)]


def test_more_folds_than_patients_are_refused(folder: Path) -> None:
    with pytest.raises(CohortError, match="10 folds; allowed: 3 to the 9 tumour patients"):
        make_plan(small_study(arms=ARMS, folds=10, cohort=str(folder)))


@pytest.fixture(scope="module")
def report(plan: Plan, store: Store) -> Report:
    return build_report(plan, store)


def test_the_report_pools_all_patients(report: Report) -> None:
    evidence = report.evidence
    assert evidence is not None
    gain = evidence.gains[0.5]["cpggan 4"].plain
    assert (gain.seeds, gain.patients, gain.folds) == (2, PATIENTS, FOLDS)
    arm = evidence.by_iou[0.5]["none"]
    assert set(arm.outcomes[0].truth.patients) == {f"P{number:03d}" for number in range(1, PATIENTS + 1)}
    (none, cpggan) = report.table1.section().lines
    assert none.cells[-1] == cpggan.cells[-1] == "6/6"
    assert none.values["test_sensitivity_iou50"] == pytest.approx(arm.sensitivity.mean)
    assert cpggan.values["test_sensitivity_iou50_gain_over_none"] == pytest.approx(gain.difference)
    assert "2 detector seeds, 9 patients with lesions in 3 folds" in report.markdown()
    assert "Test splits of all 3 folds: 9 patients" in report.markdown()
    assert "intervals over detector seeds and whole folds." in report.table1.note
    names = {section.name for section in report.sections}
    assert {"gain_iou50", "froc_iou50", "gain_by_size_iou50", "by_scanner_iou50", "whole_lesions_iou50"} <= names
    assert {line.values["fold"] for line in report.trace.lines} == {1, 2, 3}
    assert report.slices is not None
    for section in (report.slices, report.forest):
        assert section is not None
        assert section.draw is not None
        assert section.draw()


def test_a_seed_counts_once_all_of_its_folds_are_done(plan: Plan, store: Store, tmp_path: Path) -> None:
    partial = copied(store, tmp_path / "partial")
    (last,) = [one for one in plan.trials if one.name == "cpggan 4 seed 1 fold 3"]
    shutil.rmtree(partial.local / "evaluate" / last.evaluate.key)
    results = read_results(plan, partial)
    none, cpggan = results.arms
    assert (none.seeds, cpggan.seeds) == ("6/6", "5/6")
    assert none.compared == cpggan.compared == (0,)
    assert results.mark == "1 of 2 seeds"


def test_frames_name_the_fold(plan: Plan, store: Store) -> None:
    frames = StudyFrames(plan, store)
    trials = frames.trials()
    assert len(trials.groupby(["arm", "seed", "fold"])) == 12
    lesions = frames.outcomes(arms=["none"])
    assert lesions.columns[:3].tolist() == ["arm", "seed", "fold"]
    assert lesions.groupby("patient_id")["fold"].nunique().eq(1).all()
    assert set(frames.slices(2).slices["split"]) == {"train", "validation", "test"}
    with pytest.raises(ConfigError, match="fold: 4 is not in the study"):
        frames.slices(4)
    without = StudyFrames(small_plan(), store)
    assert "fold" not in without.trials()


def test_runs_name_the_fold(plan: Plan, store: Store) -> None:
    trial = next(one for one in plan.trials if one.variant == "cpggan" and one.fold == 2)
    gan = trial.gan
    assert gan is not None
    with publishing(store, trial.evaluate.detector) as made:
        write_history(made, "step")
        write_selection(made, SELECTED)
    with publishing(store, gan) as made:
        write_history(made, "images")
    run, source = trial_content(trial, plan, store), source_content(gan, {}, plan, store)
    assert run is not None
    assert source is not None
    assert (run.name, source.name) == ("cpggan 4 seed 0 fold 2", "gan cpggan fold 2")
    assert run.parts[0].params["fold"] == run.tags["metsweep.fold"] == source.tags["metsweep.fold"] == "2"
