"""Decisions under repeated looks: boundaries that were published, and errors of simulated races."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.trainers.evaluation.simulated_races import LOOKS, SHAPES, differences_of, looks_at, race, simulate
from trainers.evaluation.bootstrap import leave_one_out_weights, ratios
from trainers.evaluation.comparison import compare
from trainers.evaluation.sequential import Decision, Differences, Looks, decide, nominal_levels

OPEN, WORSE, BETTER, WITHIN, UNDECIDABLE = Decision


def test_boundaries_are_those_that_lan_and_demets_published() -> None:
    """Five looks at equal distances, 5 % in all, spent like O'Brien and Fleming (ldbounds, East: 4.877 to 2.031)."""
    bounds = stats.norm.isf(nominal_levels(0.05, 1, 5) / 2)
    assert bounds == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=1e-3)


def test_a_single_look_is_an_ordinary_test() -> None:
    assert nominal_levels(0.05, 20, 20) == pytest.approx([0.05])


def test_looks_at_independent_seeds_together_err_as_often_as_they_may() -> None:
    """By simulation, not by the integrals: sums of normal deviates, looked at from the third to the twentieth."""
    draw = np.random.default_rng(0)
    sums = np.cumsum(draw.normal(size=(40_000, 20)), axis=1)[:, 2:] / np.sqrt(np.arange(3, 21))
    bounds = stats.norm.isf(nominal_levels(0.05, 3, 20) / 2)
    assert np.mean((np.abs(sums) > bounds).any(axis=1)) == pytest.approx(0.05, abs=0.004)


def known(mean: list[float], seeds: int, *, seed_sd: float = 0.05, patient_sd: float = 0.001) -> Differences:
    """Differences of one study with these means."""
    row = np.array([mean])
    return Differences(
        mean=row,
        seed_variance=np.full(row.shape, seed_sd**2),
        patient_variance=np.full(row.shape, patient_sd**2),
        seeds=seeds,
        patients=1000,
    )


def test_arms_are_better_worse_within_the_gain_or_open() -> None:
    looks = Looks(first=3, most=12, gain=0.05)
    undecided = np.zeros((1, 4), np.int64)
    decisions, half = decide(known([0.2, -0.2, 0.0, 0.03], 12), undecided, looks)
    assert decisions.tolist() == [[BETTER, WORSE, WITHIN, OPEN]]
    assert half[0, 2] < 0.05, "else it could not be within the gain"
    assert half[0, 3] > 0.03, "and this may be 0, or 0.05"
    early, half = decide(known([0.04, -0.2, 0.0, 0.04], 3), undecided, looks)
    assert (early == OPEN).all(), "after three seeds nothing but overwhelming differences is shown"
    kept, _ = decide(known([0.0, 0.2, 0.2, 0.2], 12), np.array([[BETTER, WORSE, WITHIN, UNDECIDABLE]]), looks)
    assert kept.tolist() == [[BETTER, WORSE, WITHIN, UNDECIDABLE]], "a decision stands"


def test_what_one_arm_shows_makes_the_others_easier_to_show() -> None:
    """Holm: the second of two arms is tested at 5 %, not at 2.5 %, once the first is shown."""
    looks = Looks(first=2, most=12, gain=0.05)
    undecided = np.zeros((1, 2), np.int64)
    alone = stats.t.isf(0.025, 11) * 0.05 / np.sqrt(12)
    just_shown = 1.15 * alone
    decisions, _ = decide(known([0.0, just_shown], 12, patient_sd=0), undecided, looks)
    assert decisions[0, 1] == OPEN
    decisions, _ = decide(known([0.3, just_shown], 12, patient_sd=0), undecided, looks)
    assert decisions[0, 1] == BETTER


def test_an_arm_ends_when_patients_not_seeds_are_too_few() -> None:
    looks = Looks(first=3, most=20, gain=0.05)
    few_patients = known([0.03], 8, seed_sd=0.01, patient_sd=0.04)
    assert decide(few_patients, np.zeros((1, 1), np.int64), looks)[0].item() == UNDECIDABLE
    still_moving = known([0.03], 8, seed_sd=0.2, patient_sd=0.02)
    assert decide(still_moving, np.zeros((1, 1), np.int64), looks)[0].item() == OPEN


def test_an_arm_whose_variance_is_unknown_stays_open() -> None:
    nan = np.full((1, 1), np.nan)
    unknown = Differences(mean=np.ones((1, 1)), seed_variance=nan, patient_variance=nan, seeds=5, patients=1)
    decisions, half = decide(unknown, np.zeros((1, 1), np.int64), LOOKS)
    assert decisions.item() == OPEN
    assert np.isinf(half).all()


def test_simulated_looks_see_what_the_comparison_of_arms_sees() -> None:
    drawn = differences_of(np.random.default_rng(0), [0.05, 0.0], patients=9, studies=1)
    differences = next(looks_at(drawn))
    weights = leave_one_out_weights(np.ones(9))
    for arm in range(2):
        by_seed = np.array([ratios(weights, row, np.ones(9)) for row in drawn[0, arm, : LOOKS.first]])
        comparison = compare(by_seed)
        assert differences.mean[0, arm] == pytest.approx(comparison.difference)
        assert differences.seed_variance[0, arm] == pytest.approx(comparison.seed_variance)
        assert differences.patient_variance[0, arm] == pytest.approx(comparison.patient_variance)


def test_races_without_a_difference_spare_detectors() -> None:
    races = simulate(np.random.default_rng(0), [0.0] * 4, patients=18, studies=300)
    assert races.detectors.mean() < 0.8 * 5 * LOOKS.most


def test_races_find_gains() -> None:
    races = simulate(np.random.default_rng(1), [0.1] * 4, patients=40, studies=100)
    assert (races.decisions == BETTER).mean() > 0.7
    assert not (races.decisions == WORSE).any()


def test_without_spending_the_error_races_would_be_wrong_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = differences_of(np.random.default_rng(0), [0.0], 18, 300)
    monkeypatch.setattr(
        "trainers.evaluation.sequential.nominal_levels", lambda level, first, most: np.full(most - first + 1, level)
    )
    assert race(drawn).shown.mean() > 0.1


@pytest.mark.parametrize(("arms", "looks"), SHAPES)
@pytest.mark.parametrize(("patients", "sd"), [(18, (0.15, 0.02)), (18, (0.05, 0.06)), (40, (0.15, 0.06))])
def test_of_two_thousand_studies_without_a_difference_at_most_one_in_twenty_shows_one(
    arms: int, looks: Looks, patients: int, sd: tuple[float, float]
) -> None:
    """As the table of `trainers/evaluation/README.md`; within two standard errors of the simulation."""
    taste_sd, skill_sd = sd
    draw, none = np.random.default_rng(0), [0.0] * arms
    races = simulate(draw, none, patients, 2000, looks, taste_sd=taste_sd, skill_sd=skill_sd)
    assert races.shown.any(axis=1).mean() <= 0.06
