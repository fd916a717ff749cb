"""Outcomes and intervals over folds, each with detectors of its own."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

from trainers.evaluation.arms import Arm
from trainers.evaluation.bootstrap import leave_one_out_weights, ratios
from trainers.evaluation.comparison import Comparison, compare, seeds_needed
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.folds import pool_metrics, pool_outcomes
from trainers.evaluation.lesion_level import WholeLesions
from trainers.evaluation.metrics_file import Metrics
from trainers.evaluation.outcome import LESION_COLUMNS, SLICE_COLUMNS, Outcome, Truth, match_outcomes
from trainers.evaluation.summary import summarise
from trainers.evaluation.whole_lesions import gains_by_size
from trainers.matching import DETECTION_COLUMNS

CONFIG = EvaluationConfig(bootstraps=100, confidence=0.3)
PATIENTS, FOLDS = 60, 5


def test_whole_folds_are_left_out() -> None:
    weights = leave_one_out_weights(np.array([3, 0, 1, 0]), np.array([1, 1, 2, 3]))
    np.testing.assert_array_equal(weights, [[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1]])


def gains(draw: np.random.Generator, seeds: int, *, detectors: float, gans: float) -> tuple[Comparison, Comparison]:
    """A simulated gain without a true one, compared over folds, and as if all patients had the same detectors.

    Args:
        detectors: standard deviation of what the patients of a fold and seed share.
        gans: of what the patients of a fold share with every seed.
    """
    fold = draw.permutation(np.arange(PATIENTS) % FOLDS)
    lesions = 1 + draw.poisson(4, PATIENTS)
    gain = draw.normal(0, 0.15, PATIENTS) + draw.normal(0, 0.1, (seeds, PATIENTS))
    gain = gain + draw.normal(0, gans, FOLDS)[fold] + draw.normal(0, detectors, (seeds, FOLDS))[:, fold]

    def of(folds: np.ndarray | None, folded: int | None) -> Comparison:
        weights = leave_one_out_weights(lesions, folds)
        return compare(np.array([ratios(weights, one * lesions, lesions) for one in gain]), folded)

    return of(fold, PATIENTS), of(None, None)


@pytest.mark.parametrize(
    ("seeds", "detectors", "of_gans"), [(1, 0.08, 0.0), (2, 0.04, 0.0), (3, 0.04, 0.04), (3, 0.0, 0.0)]
)
def test_intervals_over_folds_hold_where_those_over_patients_are_too_narrow(
    seeds: int, detectors: float, of_gans: float
) -> None:
    draw = np.random.default_rng(1)
    pairs = [gains(draw, seeds, detectors=detectors, gans=of_gans) for _ in range(600)]
    covered, naive = (
        np.mean([low <= 0 <= high for low, high in (one.interval for one in arms)]) for arms in zip(*pairs, strict=True)
    )
    assert 0.93 <= covered <= 0.98
    assert np.mean([over_folds.p < 0.05 for over_folds, _ in pairs]) == pytest.approx(1 - covered)
    if seeds == 1 or of_gans:
        assert naive < 0.92


def test_what_a_seed_does_to_all_folds_is_added() -> None:
    draw = np.random.default_rng(5)
    fold = np.arange(PATIENTS) % FOLDS
    weights = leave_one_out_weights(np.ones(PATIENTS), fold)
    covered = []
    for _ in range(400):
        gain = draw.normal(0, 0.15, PATIENTS) + draw.normal(0, 0.05, (4, 1))
        one = compare(np.array([ratios(weights, row, np.ones(PATIENTS)) for row in gain]), PATIENTS)
        covered.append(one.interval.low <= 0 <= one.interval.high)
        assert one.fold_seed_variance < 1e-9
    assert np.mean(covered) >= 0.92


def test_figures_of_a_comparison_over_folds() -> None:
    one, _ = gains(np.random.default_rng(3), 3, detectors=0.1, gans=0.0)
    assert (one.seeds, one.patients, one.folds) == (3, PATIENTS, FOLDS)
    shares = one.seed_variance / 3, one.fold_seed_variance / 3 + one.patient_variance
    freedom = sum(shares) ** 2 / (shares[0] ** 2 / 2 + shares[1] ** 2 / (FOLDS - 1))
    error = sum(shares) ** 0.5
    assert one.interval.high - one.difference == pytest.approx(stdtrit(freedom, 0.975) * error)
    assert one.simultaneous(4).high > one.interval.high
    assert one.minimum_detectable == pytest.approx((stdtrit(freedom, 0.975) + stdtrit(freedom, 0.8)) * error)
    assert seeds_needed(one, one.minimum_detectable + 1e-9) == 3
    single, _ = gains(np.random.default_rng(3), 1, detectors=0.1, gans=0.0)
    assert np.isfinite(single.p)
    assert seeds_needed(single, 0.1) is None, "one seed does not say how seeds differ"


def fold_of(number: int, seed: int, skill: float) -> dict[float, Outcome]:
    """What a detector finds on four patients of a fold, some of whom have two volumes of one name."""
    draw = np.random.default_rng([number, seed])
    slices = pd.DataFrame(
        [
            (f"F{number}P{patient}-z{z}", f"F{number}P{patient}", f"S{patient % 2}", "v.nii", z)
            for patient in range(4)
            for z in range(3)
        ],
        columns=list(SLICE_COLUMNS),
    )
    places = np.random.default_rng(number).uniform(0, 40, (12, 2))
    boxes = [(i, x, y, x + 8, y + 8, 1, 4.0 + 5 * number) for i, (x, y) in enumerate(places) if i % 4]
    truth = Truth(slices, pd.DataFrame(boxes, columns=list(LESION_COLUMNS)))
    found = [(*box[:5], draw.uniform(0.2, 1)) for box in boxes if draw.random() < skill]
    found += [(i, 50, 50, 55, 55, draw.uniform(0.1, 0.9)) for i in range(12)]
    return match_outcomes(pd.DataFrame(found, columns=list(DETECTION_COLUMNS)), truth, (0.5, 0.25))


def test_pooled_outcomes_are_those_of_all_slices_together() -> None:
    folds = [fold_of(number, 0, 0.6) for number in range(3)]
    pooled = pool_outcomes(folds)
    truth = pooled[0.5].truth
    assert len(truth.slices) == 36
    assert truth.fold_of_patient is not None
    assert truth.fold_of_patient.tolist() == [1] * 4 + [2] * 4 + [3] * 4
    bare = pooled[0.5].detections.drop(columns="lesion_row")
    again = match_outcomes(bare, truth, (0.5, 0.25))
    for iou, outcome in pooled.items():
        pd.testing.assert_frame_equal(outcome.detections, again[iou].detections)
        np.testing.assert_array_equal(outcome.found, np.concatenate([fold[iou].found for fold in folds]))


def test_pooled_figures_are_those_of_the_pooled_outcome() -> None:
    folds = [fold_of(number, 0, 0.6) for number in range(3)]
    pooled = pool_metrics([{"test": summarise(fold, CONFIG)} for fold in folds])["test"]["iou50"]
    whole = summarise(pool_outcomes(folds), CONFIG)["iou50"]
    for name in ("sensitivity", "fps_per_slice", "patients", "lesions", "slices", "patients_with_lesions"):
        assert pooled[name] == pytest.approx(whole[name]), name
    assert pooled["by_scanner"] == {scanner: pytest.approx(one) for scanner, one in whole["by_scanner"].items()}
    assert list(pooled["by_diameter"]) == list(whole["by_diameter"]) == ["<5", "5-10", "10-20"]
    assert pooled["lesion_level"] == whole["lesion_level"]
    for name, of, close in (("calibration", "error", 1e-9), ("chance", "sensitivity", 0.05)):
        assert cast(Any, pooled)[name][of] == pytest.approx(cast(Any, whole)[name][of], abs=close)
    only: Metrics = {"test": summarise(folds[0], CONFIG)}
    assert pool_metrics([only]) is only


def test_every_figure_of_an_arm_is_over_folds() -> None:
    arms = [
        Arm({seed: pool_outcomes([fold_of(n, seed + add, skill) for n in range(3)])[0.5] for seed in range(2)}, CONFIG)
        for add, skill in ((0, 0.5), (10, 0.9))
    ]
    base, arm = arms
    lesions = WholeLesions.of(next(iter(base.outcomes.values())).truth)
    assert lesions is not None
    compared = [arm.gain(base), arm.gain_at_equal_fps(base), *arm.gains_at_fps_per_slice(base).values()]
    assert [(one.folds, one.patients) for one in compared if one] == [(3, 12)] * 6
    assert {name: (one.folds, one.patients) for name, one in gains_by_size(lesions, arm, base).items()} == {
        "all": (3, 12), "<5": (1, 4), "5-10": (1, 4), ">=10": (1, 4),
    }  # fmt: skip
    by_fold = [
        np.mean([[outcome.found[9 * n : 9 * (n + 1)].mean() for n in range(3)] for outcome in one.shown.values()], 0)
        for one in arms
    ]
    difference = by_fold[1] - by_fold[0]
    gain = arm.gain(base)
    assert gain is not None
    assert gain.difference == pytest.approx(difference.mean())
    of_folds = gain.fold_seed_variance / 2 + gain.patient_variance
    assert of_folds == pytest.approx(difference.var(ddof=1) / 3), "equal folds: that of the mean of their gains"
