from __future__ import annotations

import math

import numpy as np
import pytest

from trainers.evaluation.bootstrap import leave_one_out_weights, ratios
from trainers.evaluation.comparison import compare, holm, mean_interval, seeds_needed


def study(
    draw: np.random.Generator, gain: float, *, seeds: int = 4, patients: int = 36, lesions: int = 40
) -> np.ndarray:
    """Differences of two simulated arms: patients differ in difficulty and gain, seeds in skill."""
    ease = draw.normal(0.5, 0.1, patients)
    taste = draw.normal(0, 0.05, patients)  # how much more the arm suits a patient
    rows = []
    for _ in range(seeds):
        base = draw.binomial(lesions, np.clip(ease + draw.normal(0, 0.03), 0, 1))
        arm = draw.binomial(lesions, np.clip(ease + taste + gain + draw.normal(0, 0.03), 0, 1))
        weights = leave_one_out_weights(np.ones(patients))
        rows.append(ratios(weights, arm - base, np.full(patients, lesions)))
    return np.array(rows)


def test_without_a_difference_five_in_a_hundred_studies_seem_to_show_one() -> None:
    draw = np.random.default_rng(0)
    found = [compare(study(draw, 0.0)) for _ in range(400)]
    assert 0.015 <= np.mean([one.p < 0.05 for one in found]) <= 0.075
    assert 0.925 <= np.mean([one.interval.low <= 0 <= one.interval.high for one in found]) <= 0.985


def test_forgetting_that_seeds_differ_would_find_too_much() -> None:
    """The same studies, each judged by its first seed alone: that answers a narrower question."""
    draw = np.random.default_rng(0)
    found = [compare(study(draw, 0.0)[:1]).p < 0.05 for _ in range(400)]
    assert np.mean(found) > 0.15


def test_a_gain_is_found_and_its_interval_covers_it() -> None:
    draw = np.random.default_rng(1)
    found = [compare(study(draw, 0.1)) for _ in range(200)]
    assert np.mean([one.p < 0.05 for one in found]) > 0.8
    assert 0.9 <= np.mean([one.interval.low <= 0.1 <= one.interval.high for one in found]) <= 0.99


def test_p_and_interval_agree() -> None:
    draw = np.random.default_rng(2)
    for _ in range(50):
        one = compare(study(draw, 0.04))
        assert (one.p < 0.05) == (not one.interval.low <= 0 <= one.interval.high)


def test_minimum_detectable_difference_is_detected_with_the_promised_power() -> None:
    draw = np.random.default_rng(3)
    typical = float(np.median([compare(study(draw, 0.0)).minimum_detectable for _ in range(50)]))
    power = np.mean([compare(study(draw, typical)).p < 0.05 for _ in range(200)])
    assert 0.65 <= power <= 0.93


def test_seeds_needed_show_the_gain_and_one_less_would_not() -> None:
    draw = np.random.default_rng(4)
    pilot = compare(study(draw, 0.0, seeds=3, patients=200))
    needed = seeds_needed(pilot, 0.04)
    assert needed is not None
    assert 2 <= needed <= 40
    assert seeds_needed(pilot, 0.5) == 2
    assert seeds_needed(pilot, 0.005) is None, "the patients' share alone is larger"
    more, fewer = seeds_needed(pilot, 0.03), seeds_needed(pilot, 0.06)
    assert more is not None
    assert fewer is not None
    assert more >= needed >= fewer


@pytest.mark.parametrize(("seeds", "patients"), [(3, 4), (3, 10), (2, 4)])
def test_few_patients_and_seeds_do_not_find_too_much(seeds: int, patients: int) -> None:
    draw = np.random.default_rng(0)
    found = [compare(study(draw, 0.0, seeds=seeds, patients=patients)).p < 0.05 for _ in range(600)]
    assert 0.005 <= np.mean(found) <= 0.08


def test_few_patients_are_reckoned_with_where_seeds_hardly_differ() -> None:
    """Degrees of freedom come from the patients too: four patients are four, however many seeds."""
    draw = np.random.default_rng(6)
    taste = draw.normal(0, 0.1, (600, 4))
    differences = [
        np.tile(ratios(leave_one_out_weights(np.ones(4)), row, np.ones(4)), (20, 1)) + draw.normal(0, 1e-6, (20, 1))
        for row in taste
    ]
    assert np.mean([compare(one).p < 0.05 for one in differences]) <= 0.08


def test_a_difference_that_never_varies_proves_nothing() -> None:
    one = compare(np.full((1, 3), 0.5))
    assert one.difference == 0.5
    assert math.isnan(one.p)
    assert math.isnan(one.interval.low)
    assert math.isnan(one.minimum_detectable)


def test_identical_arms_differ_by_nothing() -> None:
    same = compare(np.zeros((3, 11)))
    assert (same.difference, same.p, same.interval) == (0, 1, (0, 0))


def test_one_seed_is_compared_over_patients_and_one_patient_not_at_all() -> None:
    draw = np.random.default_rng(5)
    differences = study(draw, 0.1, seeds=1)
    one = compare(differences)
    jackknife = 35 / 36 * ((differences[0, 1:] - differences[0, 1:].mean()) ** 2).sum()
    assert one.patient_variance == pytest.approx(jackknife)
    assert math.isnan(one.seed_variance)
    assert seeds_needed(one, 0.1) is None
    alone = compare(np.array([[0.2, np.nan]]))
    assert alone.difference == 0.2
    assert math.isnan(alone.p)
    several = compare(np.array([[0.2, np.nan], [0.3, np.nan]]))
    assert math.isnan(several.p)
    assert math.isnan(several.minimum_detectable)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    adjusted = holm([0.02, float("nan"), 0.01])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.02)
    assert holm([]) == []


def one_arm(draw: np.random.Generator, *, seeds: int, patients: int = 36) -> np.ndarray:
    """Sensitivities of a simulated arm: patients differ in difficulty and lesions, seeds in skill."""
    ease = draw.normal(0.6, 0.12, patients)
    lesions = draw.integers(5, 60, patients)
    weights = leave_one_out_weights(lesions)
    found = [draw.binomial(lesions, np.clip(ease + draw.normal(0, 0.03), 0, 1)) for _ in range(seeds)]
    return np.array([ratios(weights, one, lesions) for one in found])


def test_interval_of_a_mean_holds_for_other_seeds_and_other_patients() -> None:
    """Nineteen in twenty studies cover the truth, of few seeds or many."""
    draw = np.random.default_rng(5)
    for seeds in (2, 3, 8):
        bounds = [mean_interval(one_arm(draw, seeds=seeds), 0, 1) for _ in range(400)]
        assert 0.91 <= np.mean([low <= 0.6 <= high for low, high in bounds]) <= 0.98, seeds


def test_interval_over_patients_alone_would_cover_too_seldom() -> None:
    """Seeds that differ more than patients do: judged by one seed, the mean seems far more certain than it is."""
    draw = np.random.default_rng(6)
    covered = {1: 0, 3: 0}
    for _ in range(300):
        skill = draw.normal(0.6, 0.08, 3)
        lesions = np.full(60, 30)
        weights = leave_one_out_weights(lesions)
        values = np.array([ratios(weights, draw.binomial(lesions, one), lesions) for one in np.clip(skill, 0, 1)])
        for seeds in covered:
            low, high = mean_interval(values[:seeds], 0, 1)
            covered[seeds] += low <= 0.6 <= high
    assert covered[1] < 0.5 * 300
    assert 0.91 * 300 <= covered[3] <= 0.99 * 300


def test_interval_of_a_mean_stays_where_the_figure_can_be() -> None:
    values = np.array([[0.95, 0.9, 1.0, 0.95], [1.0, 1.0, 1.0, 1.0]])
    low, high = mean_interval(values, 0, 1)
    assert 0 <= low < high == 1
    assert mean_interval(values).high > 1
    assert all(math.isnan(bound) for bound in mean_interval(np.ones((2, 5)))), "nothing varies: nothing is known"
