from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.trainers.evaluation.cases import make_outcome, make_truth
from trainers.evaluation.froc import froc, froc_points, operating_point
from trainers.evaluation.metrics import counts_by, diameter_class, figures, sensitivity_by_diameter
from trainers.evaluation.outcome import Truth, outcome_tables, outcomes_of_tables

TEST_SLICES, TEST_LESIONS = 947, 3094
TABLE_1 = [
    (0.67, 4.11, 0.83, 3.59),
    (0.77, 7.64, 0.91, 7.18),
    (0.71, 6.36, 0.87, 5.85),
    (0.76, 11.77, 0.91, 11.29),
    (0.69, 7.16, 0.86, 6.60),
    (0.73, 8.10, 0.89, 7.59),
    (0.74, 9.42, 0.89, 8.95),
    (0.72, 6.21, 0.87, 5.70),
    (0.68, 3.50, 0.84, 2.99),
    (0.74, 7.20, 0.89, 6.72),
]
"""Sensitivity and FPs per slice at IoU 0.5, then at 0.25 (paper, Table 1)."""

TRUTH = make_truth(
    [("b", "3.0T", "v1", 0), ("b", "3.0T", "v1", 1), ("a", "1.5T", "v2", 0)],
    [(0, 0, 0, 10, 10, 1, 3.0), (2, 0, 0, 10, 10, 1, 12.0), (2, 20, 20, 30, 30, 2, 4.0)],
)
DETECTIONS = [
    (0, 0, 0, 10, 10, 0.9),
    (0, 0, 0, 10, 10, 0.8),
    (1, 0, 0, 10, 10, 0.7),
    (2, 20, 20, 30, 23, 0.7),
    (2, 50, 50, 60, 60, 0.1),
]


@pytest.mark.parametrize("row", TABLE_1)
def test_the_papers_table_counts_detections_as_we_do(row: tuple[float, float, float, float]) -> None:
    """Hits and false positives add up to the same detections at both IoUs, to the table's rounding."""
    per_slice = TEST_LESIONS / TEST_SLICES
    rounding = 2 * (0.005 + 0.005 * per_slice)
    assert row[1] + row[0] * per_slice == pytest.approx(row[3] + row[2] * per_slice, abs=rounding)


def test_counts_by_patient_and_by_scanner() -> None:
    loose = make_outcome(TRUTH, DETECTIONS, 0.25)
    counts = counts_by(loose)
    assert counts.loc["a"].to_dict() == {"true_positives": 1, "false_positives": 1, "lesions": 2, "slices": 1}
    assert counts.loc["b"].to_dict() == {"true_positives": 1, "false_positives": 2, "lesions": 1, "slices": 2}
    assert counts_by(loose, "scanner").loc["3.0T"].to_dict() == counts.loc["b"].to_dict()


def test_figures_are_over_all_lesions_and_all_slices() -> None:
    loose = figures(counts_by(make_outcome(TRUTH, DETECTIONS, 0.25)))
    strict = figures(counts_by(make_outcome(TRUTH, DETECTIONS, 0.5)))
    assert (loose["sensitivity"], loose["fps_per_slice"]) == (2 / 3, 3 / 3)
    assert (strict["sensitivity"], strict["fps_per_slice"]) == (1 / 3, 4 / 3)
    assert loose["true_positives"] + loose["false_positives"] == strict["true_positives"] + strict["false_positives"]


def test_no_detections_is_a_sensitivity_of_zero_and_no_lesions_is_refused() -> None:
    nothing = figures(counts_by(make_outcome(TRUTH, [])))
    assert (nothing["sensitivity"], nothing["fps_per_slice"], nothing["lesions"], nothing["slices"]) == (0, 0, 3, 3)
    healthy = Truth(TRUTH.slices, TRUTH.lesions.iloc[:0])
    with pytest.raises(ValueError, match="No lesion"):
        figures(counts_by(make_outcome(healthy, DETECTIONS)))
    assert counts_by(make_outcome(healthy, DETECTIONS))["false_positives"].sum() == 5


def test_a_detection_without_area_is_a_false_positive() -> None:
    counts = counts_by(make_outcome(TRUTH, [(0, 5, 5, 5, 9, 0.9)]))
    assert counts["false_positives"].sum() == 1


def test_a_threshold_drops_detections_below_it_and_no_other() -> None:
    outcome = make_outcome(TRUTH, DETECTIONS, 0.25)
    assert outcome.found_at.tolist() == [0.9, -np.inf, 0.7]
    assert outcome.at(0.7).hit.tolist() == [True, False, False, True]
    assert outcome.at(0.71).found_at.tolist() == [0.9, -np.inf, -np.inf]


def test_sensitivity_by_diameter() -> None:
    found = sensitivity_by_diameter(make_outcome(TRUTH, DETECTIONS, 0.25))
    assert found == {
        "<5": {"sensitivity": 1.0, "true_positives": 2, "lesions": 2},
        "10-20": {"sensitivity": 0.0, "true_positives": 0, "lesions": 1},
    }
    edges = np.array([0, 4.99, 5, 10, 19.99, 20, np.nan])
    assert diameter_class(edges).tolist() == ["<5", "<5", "5-10", "10-20", "10-20", ">=20", "unknown"]
    unknown = Truth(TRUTH.slices, TRUTH.lesions.assign(diameter_mm=np.nan))
    assert sensitivity_by_diameter(make_outcome(unknown, DETECTIONS)) == {}


def test_tables_give_the_outcomes_back() -> None:
    before = {iou: make_outcome(TRUTH, DETECTIONS, iou) for iou in (0.25, 0.5)}
    after = outcomes_of_tables(outcome_tables(before), [0.25, 0.5])
    for iou, outcome in before.items():
        pd.testing.assert_frame_equal(after[iou].detections, outcome.detections)
        np.testing.assert_array_equal(after[iou].found_at, outcome.found_at)


def test_an_operating_point_never_has_more_false_positives_than_asked_for() -> None:
    curve = froc(make_outcome(TRUTH, DETECTIONS, 0.25))
    assert curve["fps_per_slice"].tolist() == [0, 0, 1 / 3, 2 / 3, 1]
    between = operating_point(curve, 0.5)
    assert (between.fps_per_slice, between.sensitivity, between.confidence) == (1 / 3, 1 / 3, 0.8)
    assert not between.ends_before
    exactly = operating_point(curve, 2 / 3)
    assert (exactly.sensitivity, exactly.confidence) == (2 / 3, 0.7)
    beyond = operating_point(curve, 4.0)
    assert (beyond.fps_per_slice, beyond.sensitivity, beyond.ends_before) == (1, 2 / 3, True)
    nothing = operating_point(froc(make_outcome(TRUTH, [])), 1.0)
    assert (nothing.sensitivity, nothing.ends_before) == (0, True)


def test_froc_passes_detections_of_equal_confidence_together() -> None:
    hit = np.array([True, False, False, True, False])
    curve = froc_points(np.array([row[5] for row in DETECTIONS]), hit, lesions=3, slices=3)
    assert curve["confidence"].tolist() == [np.inf, 0.9, 0.8, 0.7, 0.1]
    np.testing.assert_allclose(curve["sensitivity"], [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(curve["fps_per_slice"], [0, 0, 1 / 3, 2 / 3, 1])


def test_froc_without_detections_or_without_lesions() -> None:
    assert len(froc_points(np.zeros(0), np.zeros(0, bool), lesions=1, slices=1)) == 1
    with pytest.raises(ValueError, match="0 lesions"):
        froc_points(np.zeros(0), np.zeros(0, bool), lesions=0, slices=1)
