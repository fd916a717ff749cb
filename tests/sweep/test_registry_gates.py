"""Every gate passes, fails and is undetermined for the reasons it gives, on a real study whose figures are set."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.search import Constraint, Objective
from sweep.plan import Plan
from sweep.registry.gates import Gate, chance_gate, constraint_gate, fps_gate
from sweep.registry.judging import Limits, detector_gates, generator_gates
from sweep.registry.lineage import cell_keys, tags_of
from sweep.registry.selection import pick, ranking
from sweep.store import Store
from sweep.tracking.tags import tag_text
from tests.sweep.judged_study import copied, judged_plan, set_found, set_realism, with_drawn
from trainers.evaluation.arms import Estimate
from trainers.evaluation.bootstrap import Interval
from trainers.evaluation.realism.memorisation import Verdict
from trainers.exceptions import ConfigError

GOOD = {"none": (0, 1, 0), "cpggan 4": (4, 4, 4), "cpggan 8": (2, 2, 1), "image2image 4": (1, 0, 1)}
"""Cell -> lesions of the validation split (4) that each seed finds."""
Judged = Callable[..., dict[str, Gate]]


@pytest.fixture
def store(seeded_store: Store, tmp_path: Path) -> Store:
    return copied(seeded_store, tmp_path / "store")


def set_cells(store: Store, plan: Plan, cells: dict[str, tuple[int, ...]], fps: int = 1) -> None:
    for trial in plan.trials:
        set_found(store, trial, {"validation": cells[trial.cell][trial.seed], "test": 1}, fps)


def detector(store: Store, plan: Plan, limits: Limits | None = None) -> dict[str, Gate]:
    among = ranking(plan, store)
    gates = detector_gates(among[0], among, plan, store, None, limits or Limits())
    return {gate.name: gate for gate in gates}


def generator(store: Store, plan: Plan) -> dict[str, Gate]:
    among = ranking(plan, store)
    best = next(one for one in among if one.trial.gan)
    return {gate.name: gate for gate in generator_gates(best, among, plan, store)}


def test_gain_beyond_chance_passes_and_less_than_the_margin_fails(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    set_cells(store, plan, GOOD)
    gate = detector(store, plan)["paired gain"]
    assert gate.verdict == "pass", gate.why
    assert "+0.917" in gate.why
    assert "3 seeds and 4 validation patients" in gate.why
    assert "best of 3 cells (Bonferroni)" in gate.why
    assert gate.figure is not None
    assert 0 < gate.figure < 0.917

    above = detector(store, plan, Limits(margin=gate.figure + 0.001))["paired gain"]
    assert above.verdict == "fail"
    assert f"not above {gate.figure + 0.001:g}" in above.why
    assert detector(store, plan, Limits(margin=gate.figure - 0.001))["paired gain"].passed


def test_drawn_cells_that_differ_in_hyperparameters_alone_are_judged_apart(store: Store) -> None:
    plan = with_drawn(judged_plan((0, 1, 2)), store, "cpggan 4", 2)
    found = {**GOOD, "cpggan 4": (1, 1, 1), "t0 cpggan 4": (4, 4, 4), "t1 cpggan 4": (0, 0, 0)}
    set_cells(store, plan, found)
    gate = detector(store, plan)["paired gain"]
    assert gate.verdict == "pass", gate.why
    assert "+0.917" in gate.why
    assert "best of 5 cells (Bonferroni)" in gate.why
    best = ranking(plan, store)[0]
    held = cell_keys(tags_of(plan, best, "key", "commit"))
    assert held == {one.seed: one.evaluate.key for one in plan.trials if one.cell == "t0 cpggan 4"}


def test_cells_that_the_search_gave_up_are_told_of_and_count_as_lost(store: Store) -> None:
    plan = with_drawn(judged_plan((0, 1, 2)), store, "cpggan 4", 2)
    set_cells(store, plan, {**GOOD, "t0 cpggan 4": (3, 3, 3), "t1 cpggan 4": (4, 4, 4)})
    among = ranking(plan, store, given_up={0})
    gates = {gate.name: gate for gate in detector_gates(among[0], among, plan, store, None, Limits())}
    told = gates["picked by validation"].why
    assert told.startswith("The best of 15 trials by sensitivity at IoU 0.5 on validation; 3 more ended early")
    assert "best of 5 cells (Bonferroni)" in gates["paired gain"].why


def test_gain_that_chance_explains_fails(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    set_cells(store, plan, {**GOOD, "cpggan 4": (3, 0, 1)})
    gate = detector(store, plan)["paired gain"]
    assert gate.verdict == "fail"
    assert gate.figure is not None
    assert gate.figure < 0


def test_picked_from_more_arms_needs_more(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    set_cells(store, plan, GOOD)
    fewer = Plan(plan.study, tuple(trial for trial in plan.trials if trial.arm in ("none", "cpggan 4")))
    alone, best_of_three = (detector(store, one)["paired gain"].figure for one in (fewer, plan))
    assert alone is not None
    assert best_of_three is not None
    assert alone > best_of_three
    assert "Bonferroni" not in detector(store, fewer)["paired gain"].why


def test_one_seed_is_undetermined(store: Store) -> None:
    plan = judged_plan((0,))
    set_cells(store, plan, {**GOOD, "cpggan 4": (3,), "none": (0,)})
    fewer = Plan(plan.study, tuple(trial for trial in plan.trials if trial.arm in ("none", "cpggan 4")))
    gate = detector(store, fewer)["paired gain"]
    assert gate.verdict == "fail", "the interval over four patients is wide"
    set_cells(store, plan, {**GOOD, "cpggan 4": (4,), "none": (0,)})
    gate = detector(store, plan)["paired gain"]
    assert (gate.verdict, gate.figure) == ("undetermined", None)
    assert "are too few for an interval" in gate.why


def test_real_only_arm_without_champion_has_nothing_to_beat(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    set_cells(store, plan, {**GOOD, "none": (4, 4, 4), "cpggan 4": (1, 1, 1)})
    gate = detector(store, plan)["paired gain"]
    assert gate.verdict == "undetermined", "nothing to compare with is no evidence"
    assert gate.why == "Nothing to compare with: this is the real-only arm, and the registry has no champion."


def test_detector_that_finds_nothing_is_let_through_by_no_champion(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    set_cells(store, plan, dict.fromkeys(GOOD, (0, 0, 0)), fps=0)
    gates = detector(store, plan)
    assert gates["above chance"].verdict == "fail"
    assert gates["above chance"].figure == 0.0
    assert gates["FPs per slice"].verdict == "undetermined", "where nothing is detected there is nothing to judge"
    assert "detects nothing" in gates["FPs per slice"].why


def test_sensitivity_must_be_above_chance_beyond_what_patients_explain(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    set_cells(store, plan, GOOD)
    gate = detector(store, plan)["above chance"]
    assert gate.verdict == "pass", gate.why
    assert gate.figure == pytest.approx(0.025 ** (1 / 4)), "every patient alike: the exact bound of 4 of 4"
    set_cells(store, plan, {**GOOD, "cpggan 4": (2, 2, 2), "cpggan 8": (1, 1, 1)})
    gate = detector(store, plan)["above chance"]
    assert gate.verdict == "fail", "2 of 4 patients: the interval reaches down to 0"
    assert "4 validation patients" in gate.why


def test_interval_of_one_patient_cannot_tell_of_chance() -> None:
    alone = Estimate(0.5, Interval(math.nan, math.nan))
    assert chance_gate(alone, 1, 0.1, 0.5).verdict == "undetermined"
    assert chance_gate(Estimate(0.0, Interval(math.nan, math.nan)), 1, 0.1, 0.5).verdict == "fail"
    assert chance_gate(Estimate(0.5, Interval(math.nan, math.nan)), 4, None, 0.5).verdict == "undetermined"


def test_false_positives_that_are_not_defined_cannot_be_told() -> None:
    assert fps_gate(math.nan, 5, 12.0, 0.5).verdict == "undetermined"


def test_study_without_real_only_arm_cannot_tell_a_gain(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    set_cells(store, plan, GOOD)
    without = Plan(plan.study, tuple(trial for trial in plan.trials if trial.gan))
    gate = detector(store, without)["paired gain"]
    assert gate.verdict == "undetermined"
    assert "no arm none" in gate.why


def test_false_positives_are_capped(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    set_cells(store, plan, GOOD, fps=13)
    gate = detector(store, plan)["FPs per slice"]
    assert (gate.verdict, gate.figure, gate.limit) == ("fail", 13.0, 12.0)
    assert detector(store, plan, Limits(fps_cap=13.0))["FPs per slice"].passed


@pytest.mark.parametrize(
    ("verdict", "expected", "figure", "limit"),
    [
        (Verdict.NO_SIGN, "pass", 0.6, 0.05),
        (Verdict.LEAK, "fail", 0.6, 0.05),
        (Verdict.COPIES, "fail", 0.5, 0.05),
        (Verdict.FEW_PATIENTS, "undetermined", 0.6, 0.05),
        (Verdict.UNLIKE_SPLITS, "undetermined", 0.6, 0.05),
    ],
)
def test_memorisation(store: Store, verdict: Verdict, expected: str, figure: float, limit: float) -> None:
    plan = judged_plan((0, 1, 2))
    set_realism(store, plan, verdict, copies=6)  # of 12 slices
    gate = generator(store, plan)["memorisation"]
    assert (gate.verdict, gate.figure, gate.limit) == (expected, figure, limit)
    assert gate.why.lower() == f"{verdict.sentence}.".lower()


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ((0.8, 0.1, 0.9), "pass"),
        ((0.12, 0.1, 0.9), "fail"),
        ((0.8, 0.1, 0.0), "undetermined"),
        ((0.8, 0.1, 0.05), "undetermined"),
    ],
)
def test_box_fidelity(store: Store, boxes: tuple[float, float, float], expected: str) -> None:
    plan = judged_plan((0, 1, 2))
    set_realism(store, plan, boxes=boxes)
    gate = generator(store, plan)["box fidelity"]
    assert gate.verdict == expected
    assert f"finds {boxes[0]:.3f} of the boxes" in gate.why


def test_generator_whose_realism_is_unknown_is_not_let_through(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    (store.local / "realism").rename(store.local / "gone")
    gates = generator(store, plan)
    assert [gates[name].verdict for name in ("memorisation", "box fidelity")] == ["undetermined"] * 2
    assert "metsweep launch" in gates["memorisation"].why


def test_trial_named_by_hand_must_be_the_best_by_validation(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    for trial, on_test in zip(plan.trials, itertools.count()):
        validation = 3 if trial.arm == "cpggan 4" else 1
        set_found(store, trial, {"validation": validation, "test": min(on_test, 4)})
    ranked = ranking(plan, store)
    best_on_test = plan.trials[-1].name
    assert pick(ranked, None, forced=False).trial.name == "cpggan 4 seed 0", "the test split has no say"
    assert pick(ranked, "cpggan 4 seed 2", forced=False).trial.seed == 2, "as good on validation as the best"
    with pytest.raises(ConfigError, match=r"not the best on the validation split.*0\.750.*picked by its test figures"):
        pick(ranked, best_on_test, forced=False)
    with pytest.raises(ConfigError, match=r"'cpggan 5' is not a trial.*allowed: cpggan 4 seed 0"):
        pick(ranked, "cpggan 5", forced=True)
    forced = pick(ranked, best_on_test, forced=True)
    gate = detector_gates(forced, ranked, plan, store, None, Limits())[0]
    assert (gate.name, gate.verdict, gate.figure, gate.limit) == ("picked by validation", "fail", 0.25, 0.75)
    assert detector(store, plan)["picked by validation"].passed


def test_gate_is_kept_as_json(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    set_cells(store, plan, GOOD, fps=0)
    gate = detector(store, plan)["FPs per slice"]
    assert json.loads(tag_text(gate)) == {
        "name": "FPs per slice", "figure": 0.0, "limit": 12.0, "verdict": "pass", "why": gate.why,
    }  # fmt: skip


def test_study_s_objectives_and_constraints_rank_and_bind(store: Store) -> None:
    plan = judged_plan((0, 1, 2))
    for trial in plan.trials:
        found = {"none": 1, "cpggan 4": 4, "cpggan 8": 3, "image2image 4": 2}[trial.arm]
        set_found(store, trial, {"validation": found, "test": 1}, fps=found)

    def asked(objectives: list[Objective], constraints: list[Constraint]) -> Plan:
        study = plan.study.model_copy(update={"objectives": objectives, "constraints": constraints})
        return Plan(study, plan.trials)

    def first(one: Plan) -> str:
        return ranking(one, store)[0].trial.arm

    assert first(plan) == "cpggan 4"
    assert first(asked([Objective(metric="fps_per_slice", direction="minimize")], [])) == "none"
    capped = asked([Objective()], [Constraint(at_most=3)])
    assert first(capped) == "cpggan 8"
    gate = detector(store, capped)["FPs per slice"]
    assert (gate.verdict, gate.figure, gate.limit) == ("pass", 3.0, 3.0)
    assert detector(store, capped, Limits(fps_cap=2.5))["FPs per slice"].verdict == "fail"
    nobody = asked([Objective()], [Constraint(metric="fps_per_slice", iou=0.25, at_most=0.5)])
    gate = detector(store, nobody)["fps_per_slice @ 0.25 <= 0.5"]
    assert (gate.verdict, gate.figure, gate.limit) == ("fail", 1.0, 0.5)


def test_constraint_whose_figure_is_not_defined_cannot_be_told() -> None:
    gate = constraint_gate("sensitivity_at_1_fps @ 0.5 >= 0.2", math.nan, 0.2, kept=False)
    assert (gate.verdict, gate.figure, gate.limit) == ("undetermined", None, 0.2)
