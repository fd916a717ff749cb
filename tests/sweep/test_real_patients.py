"""Arms with another number of real training patients, and what the report reads from their learning curve."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import load_study
from sweep.report.report import build_report
from sweep.report.sections.patients import LearningCurve, Worth
from sweep.store import Store
from tests.sweep.evaluated import evaluate, prepared_slices
from tests.sweep.small_study import plan_of, small_plan, small_study
from trainers.evaluation.bootstrap import Interval
from trainers.evaluation.comparison import Comparison
from trainers.exceptions import ConfigError

ARMS = [
    {"variant": "none"},
    {"variant": "none", "train_patients": [2, 3]},
    {"variant": "cpggan", "counts": [4]},
]
SKILL = {"none": 0.1, "none 2 patients": 0.45, "none 3 patients": 0.8, "cpggan 4": 0.5, "classic": 0.9}


def test_only_the_detectors_of_such_an_arm_see_other_patients() -> None:
    plan = plan_of(small_study(arms=ARMS))
    assert list(plan.cells) == ["none", "none 2 patients", "none 3 patients", "cpggan 4"]
    slices = {name: trials[0].evaluate.detector.slices for name, trials in plan.cells.items()}
    assert {name: stage.config.train_patients for name, stage in slices.items()} == {
        "none": None, "none 2 patients": 2, "none 3 patients": 3, "cpggan 4": None,
    }  # fmt: skip
    assert len({stage.key for stage in slices.values()}) == 3
    assert plan.cells["cpggan 4"][0].gan
    assert plan.cells["cpggan 4"][0].gan.slices.key == slices["none"].key
    assert plan.cells["none 2 patients"][0].evaluate.detector.label == "detector none 2 patients seed 0"


def test_without_them_no_key_changes() -> None:
    before = small_plan().stages
    with_them = small_plan(arms=[*small_study().model_dump(exclude_unset=True)["arms"], ARMS[1]]).stages
    assert before.keys() < with_them.keys()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("arms=[{variant: cpggan, counts: [400], train_patients: [2]}]", "set prepare.train_patients"),
        ("arms=[{variant: none, train_patients: [2, 2]}]", "more than once"),
        ("arms=[{variant: none, train_patients: [2]}]", "add `- variant: none`"),
        ("arms=[{variant: none, train_patients: [0]}]", "train_patients"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_study("quickstart", overrides=[change])


def test_a_number_that_the_study_has_already_is_refused() -> None:
    arms = "arms=[{variant: none}, {variant: none, train_patients: [30]}]"
    with pytest.raises(ConfigError, match=r"30 is prepare\.train_patients"):
        load_study("quickstart", overrides=[arms, "prepare.train_patients=30"])


def test_the_report_says_what_synthetic_slices_are_worth(tmp_path: Path) -> None:
    plan, store = small_plan(seeds=(0, 1, 2), arms=[*ARMS, {"variant": "classic"}]), Store(tmp_path)
    slices = prepared_slices(plan, store)
    for trial in plan.trials:
        evaluate(plan, store, trial, slices, SKILL[trial.arm])
    report = build_report(plan, store)
    (table,) = [one for one in report.sections if one.name == "patients_iou50"]
    lines: dict[str, Any] = {str(line.values["arm"]): line.values for line in table.lines}
    assert {arm: values["patients"] for arm, values in lines.items()} == {
        "none": 1, "none 2 patients": 2, "none 3 patients": 3, "cpggan 4": 1, "classic": 1,
    }  # fmt: skip
    evidence = report.evidence
    assert evidence is not None
    assert table.note.startswith("Worth: real patients with which")
    sensitivity = {arm: values["sensitivity"] for arm, values in lines.items()}
    curve = {number: sensitivity[arm] for arm, number in zip(SKILL, (1, 2, 3), strict=False)}
    assert lines["cpggan 4"]["worth"] == pytest.approx(Worth.of(sensitivity["cpggan 4"], curve).patients)
    assert lines["none"]["sensitivity"] < lines["cpggan 4"]["sensitivity"], "so that it is worth more patients"
    assert evidence.chosen == "cpggan 4", "the best arm is one with synthetic slices"
    assert table.draw is not None
    assert not [one for one in build_report(small_plan(), store).sections if one.name.startswith("patients")]


@pytest.mark.parametrize(
    ("sensitivity", "patients", "text"),
    [
        (0.2, 10, "10"),
        (0.3, 15, "15"),
        (0.4, 20, "20"),
        (0.6, 60, "60"),
        (0.1, math.nan, "<10"),
        (0.7, math.nan, ">60"),
        (math.nan, math.nan, "-"),
    ],
)
def test_worth_lies_on_straight_lines_and_takes_the_fewest_patients(
    sensitivity: float, patients: float, text: str
) -> None:
    worth = Worth.of(sensitivity, {10: 0.2, 20: 0.4, 40: 0.35, 60: 0.6})
    assert worth.patients == pytest.approx(patients, nan_ok=True)
    assert worth.text == text


def gain(difference: float, reach: float) -> Comparison:
    return Comparison(difference, Interval(difference - reach, difference + reach), 0.5, 3, 40, 0.01, 0.01)


def test_slices_are_worth_patients_only_where_more_patients_are_shown_to_help() -> None:
    gains = {"none 60": gain(0.2, 0.1), "cpggan": gain(0.1, 0.04)}
    curve = LearningCurve(0.4, gains, {"none": 30, "none 60": 60})
    assert [worth.text for worth in curve.worth("cpggan") or ()] == ["45", "39", "51"]
    assert "the curve itself is uncertain" in curve.note
    flat = LearningCurve(0.4, {**gains, "none 60": gain(0.0, 0.1)}, curve.patients)
    assert flat.worth("cpggan") is None
    assert flat.note == (
        "The curve is not shown to rise (none 60 over none: +0.000 [-0.100, +0.100]), so slices cannot be expressed in "
        "real patients."
    )
    fewer = LearningCurve(0.4, {"none 15": gain(-0.2, 0.1), "cpggan": gain(-0.12, 0.05)}, {"none 15": 15, "none": 30})
    assert [worth.text for worth in fewer.worth("cpggan") or ()] == ["21", "17", "25"]
