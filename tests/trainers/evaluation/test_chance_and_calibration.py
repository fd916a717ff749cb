from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.trainers.evaluation.cases import make_outcome, make_truth, random_case
from trainers.evaluation.calibration import calibration, calibration_error
from trainers.evaluation.chance import chance, shuffle_boxes
from trainers.evaluation.outcome import match_outcomes


def test_every_slice_gets_the_boxes_of_another_patients_slice() -> None:
    truth, _ = random_case(np.random.default_rng(0))
    for seed in range(20):
        shuffled = shuffle_boxes(truth, np.random.default_rng(seed))
        assert len(shuffled.lesions) == len(truth.lesions)
        patients = truth.slices["patient_id"].to_numpy()
        columns = ["x0", "y0", "x1", "y1", "diameter_mm"]
        before = truth.lesions.assign(patient=patients[truth.lesions["slice"]]).set_index(columns)["patient"]
        after = shuffled.lesions.assign(patient=patients[shuffled.lesions["slice"]]).set_index(columns)["patient"]
        once = before.index[~before.index.duplicated(keep=False)]
        assert (before[once] != after[once]).all()
        assert sorted(map(len, shuffled.boxes)) == sorted(map(len, truth.boxes))


def test_one_patient_can_only_be_shuffled_within() -> None:
    truth = make_truth([("a", "s", "v", z) for z in range(3)], [(0, 0, 0, 9, 9, 1, 5.0)])
    assert shuffle_boxes(truth, np.random.default_rng(0)).lesions["slice"].iloc[0] != 0


def test_a_detector_that_knows_where_lesions_are_is_far_above_chance() -> None:
    truth, detections = random_case(np.random.default_rng(1), skill=3.0)
    outcome = match_outcomes(detections, truth, [0.25])[0.25]
    by_chance = chance(outcome)
    assert by_chance is not None
    assert np.isfinite(outcome.found_at).mean() > 0.9
    assert by_chance["sensitivity"] < 0.1
    assert chance(outcome) == by_chance, "the seed decides the shuffles"


def test_a_detector_that_knows_only_how_lesions_lie_is_at_chance() -> None:
    """Boxes at one place on every slice: a prior of place is what shuffling between slices keeps."""
    truth = make_truth([(f"p{i}", "s", "v", i) for i in range(6)], [(i, 5, 5, 15, 15, 1, 8.0) for i in range(6)])
    outcome = make_outcome(truth, [(i, 5, 5, 15, 15, 0.9) for i in range(6)])
    by_chance = chance(outcome)
    assert by_chance is not None
    assert by_chance["sensitivity"] == 1


def test_a_single_slice_has_no_chance_level() -> None:
    assert chance(make_outcome(make_truth([("a", "s", "v", 0)], [(0, 0, 0, 9, 9, 1, 5.0)]), [])) is None


def test_calibration_by_hand() -> None:
    truth = make_truth([("a", "s", "v", 0)], [(0, 0, 0, 10, 10, 1, 5.0), (0, 20, 20, 30, 30, 2, 5.0)])
    outcome = make_outcome(
        truth, [(0, 0, 0, 10, 10, 0.96), (0, 50, 50, 60, 60, 0.92), (0, 20, 20, 30, 30, 1.0), (0, 70, 70, 75, 75, 0.2)]
    )
    table = calibration([outcome])
    assert table is not None
    expected = pd.DataFrame(
        {"detections": [1, 3], "confidence": [0.2, 0.96], "precision": [0, 2 / 3], "low": [0.2, 0.9], "high": [0.3, 1]}
    )
    pd.testing.assert_frame_equal(table[list(expected.columns)], expected, check_dtype=False)
    assert calibration_error(table) == pytest.approx((0.2 + 3 * (0.96 - 2 / 3)) / 4)


def test_scores_that_are_no_probabilities_have_no_calibration_and_no_detections_have_no_error() -> None:
    truth = make_truth([("a", "s", "v", 0)], [(0, 0, 0, 10, 10, 1, 5.0)])
    assert calibration([make_outcome(truth, [(0, 0, 0, 10, 10, 7.5)])]) is None
    empty = calibration([make_outcome(truth, [])])
    assert empty is not None
    assert calibration_error(empty) is None
