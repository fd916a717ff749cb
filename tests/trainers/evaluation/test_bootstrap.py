from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from tests.trainers.evaluation.cases import make_detections, make_outcome, make_truth, random_case
from trainers.evaluation.bootstrap import (
    bootstrap_weights,
    froc_band,
    interval,
    leave_one_out_weights,
    patient_curve,
    ratios,
)
from trainers.evaluation.froc import froc, operating_point
from trainers.evaluation.metrics import counts_by, figures
from trainers.evaluation.outcome import Outcome, match_outcomes


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    truth, detections = random_case(np.random.default_rng(3))
    return match_outcomes(detections, truth, [0.5])[0.5]


def test_a_resample_is_what_drawing_patients_one_by_one_gives(outcome: Outcome) -> None:
    counts = counts_by(outcome)
    draw = np.random.default_rng(0)
    picked = draw.integers(0, len(counts), len(counts))
    weights = np.bincount(picked, minlength=len(counts))[None].astype(float)
    expected = figures(counts.iloc[picked])
    found = ratios(weights, counts[["true_positives", "false_positives"]].to_numpy(), counts["lesions"].to_numpy())
    assert found[0, 0] == pytest.approx(expected["sensitivity"])
    assert ratios(weights, counts["false_positives"].to_numpy(), counts["slices"].to_numpy())[0] == pytest.approx(
        expected["fps_per_slice"]
    )


def test_weights_draw_as_many_patients_as_there_are() -> None:
    weights = bootstrap_weights(7, 100, 0)
    assert weights.shape == (100, 7)
    assert (weights.sum(1) == 7).all()
    np.testing.assert_array_equal(weights, bootstrap_weights(7, 100, 0))
    lesions = np.array([3, 0, 1])
    np.testing.assert_array_equal(leave_one_out_weights(lesions), [[1, 1, 1], [0, 1, 1], [1, 1, 0]])


def test_intervals_over_patients_are_wider_than_over_lesions_where_patients_differ() -> None:
    """Ten patients of 20 lesions, found all or not at all: there are ten observations, not 200."""
    truth = make_truth(
        [(f"p{p}", "s", "v", 0) for p in range(10)],
        [(p, 10 * i, 0, 10 * i + 9, 9, i, 9.0) for p in range(10) for i in range(20)],
    )
    found = make_outcome(truth, [(p, 10 * i, 0, 10 * i + 9, 9, 0.9) for p in range(0, 10, 2) for i in range(20)])
    counts = counts_by(found)
    low, high = interval(
        ratios(bootstrap_weights(10, 2000, 0), counts["true_positives"].to_numpy(), counts["lesions"].to_numpy())
    )
    by_lesion = 1.96 * np.sqrt(0.25 / 200)
    assert high - low > 3 * 2 * by_lesion
    assert low < 0.5 < high


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for run in range(200):
        lesions = draw.integers(1, 10, 40)
        hits = draw.binomial(lesions, np.clip(draw.normal(0.6, 0.2, 40), 0, 1))
        low, high = interval(ratios(bootstrap_weights(40, 400, run), hits, lesions))
        covered += low <= 0.6 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_a_resample_without_lesions_is_left_out() -> None:
    values = ratios(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 0]), np.array([2, 0]))
    assert values[0] == 0.5
    assert np.isnan(values[1])
    assert interval(values) == (0.5, 0.5)


def test_patient_curves_add_up_to_the_froc_curve(outcome: Outcome) -> None:
    curve, resampled = froc(outcome), patient_curve(outcome)
    np.testing.assert_array_equal(resampled.thresholds, curve["confidence"])
    np.testing.assert_allclose(resampled.true_positives.sum(0) / resampled.lesions.sum(), curve["sensitivity"])
    np.testing.assert_allclose(resampled.false_positives.sum(0) / resampled.slices.sum(), curve["fps_per_slice"])
    everyone = np.ones((1, len(resampled.lesions)))
    for fps in (0.0, 0.5, 1.0, 2.0, 50.0):
        assert resampled.sensitivity_at(np.array([fps]), everyone)[0, 0] == operating_point(curve, fps).sensitivity


def test_the_threshold_is_chosen_anew_in_every_resample(outcome: Outcome) -> None:
    curve = patient_curve(outcome)
    weights = bootstrap_weights(len(curve.lesions), 20, 1)
    values = curve.sensitivity_at(np.array([1.0]), weights)[:, 0]
    for row, value in zip(weights, values, strict=True):
        rates = row @ curve.false_positives / (row @ curve.slices)
        best = max(t for t in range(len(rates)) if rates[t] <= 1.0)
        assert value == pytest.approx(row @ curve.true_positives[:, best] / (row @ curve.lesions))


@pytest.mark.parametrize(("points", "tolerance"), [(512, 0.02), (4096, 0.003)])
def test_a_curve_of_few_thresholds_is_close_to_the_whole_one(points: int, tolerance: float) -> None:
    """Most detections are weak false positives: thresholds spread over ranks would leave the start of a curve bare."""
    truth, detections = random_case(np.random.default_rng(4), patients=40)
    draw = np.random.default_rng(5)
    weak = [
        (int(draw.integers(len(truth.slices))), 240, 240, 250, 250, float(draw.random() ** 3)) for _ in range(60_000)
    ]
    everything = pd.concat([detections, make_detections(weak)], ignore_index=True)
    whole = match_outcomes(everything, truth, [0.5])[0.5]
    few = patient_curve(whole, points)
    assert len(few.thresholds) <= points + 1
    everyone, curve = np.ones((1, len(truth.patients))), froc(whole)
    for fps in (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0):
        exact = operating_point(curve, fps).sensitivity
        assert exact - tolerance <= few.sensitivity_at(np.array([fps]), everyone)[0, 0] <= exact


def test_band_holds_the_mean_over_seeds(outcome: Outcome) -> None:
    grid = np.linspace(0, 4, 9)
    band = froc_band([outcome, outcome], grid, bootstrap_weights(len(outcome.truth.patients), 300, 0))
    exact = patient_curve(outcome).sensitivity_at(grid, np.ones((1, len(outcome.truth.patients))))[0]
    np.testing.assert_allclose(band["sensitivity"], exact)
    assert (band["low"] <= band["sensitivity"]).all()
    assert (band["sensitivity"] <= band["high"]).all()
    assert (band["high"] - band["low"]).max() > 0.05


def test_ten_thousand_bootstraps_of_the_papers_table_take_less_than_two_seconds() -> None:
    """Ten arms, three seeds, two IoUs, 36 patients: 60 pairs of sensitivity and FPs per slice."""
    draw = np.random.default_rng(0)
    lesions, slices = draw.integers(10, 200, 36), draw.integers(10, 50, 36)
    true_positives, false_positives = draw.binomial(lesions, 0.7, (60, 36)).T, draw.poisson(120, (36, 60))
    started = time.perf_counter()
    weights = bootstrap_weights(36, 10_000, 0)
    both = ratios(weights, true_positives, lesions), ratios(weights, false_positives, slices)
    bounds = [interval(column) for values in both for column in values.T]
    assert time.perf_counter() - started < 2
    assert len(bounds) == 120
