from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trainers.evaluation.froc import froc_points
from trainers.evaluation.matching import DETECTION_COLUMNS
from trainers.evaluation.metrics import count_by_patient, figures

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

TRUTH = [np.array([[0, 0, 10, 10]]), np.zeros((0, 4)), np.array([[0, 0, 10, 10], [20, 20, 30, 30]])]
PATIENTS = ["b", "b", "a"]
DETECTIONS = pd.DataFrame(
    [
        (0, 0, 0, 10, 10, 0.9),
        (0, 0, 0, 10, 10, 0.8),
        (1, 0, 0, 10, 10, 0.7),
        (2, 20, 20, 30, 23, 0.7),
        (2, 50, 50, 60, 60, 0.1),
    ],
    columns=list(DETECTION_COLUMNS),
)


@pytest.mark.parametrize("row", TABLE_1)
def test_the_papers_table_counts_detections_as_we_do(row: tuple[float, float, float, float]) -> None:
    """Hits and false positives add up to the same detections at both IoUs, to the table's rounding."""
    per_slice = TEST_LESIONS / TEST_SLICES
    rounding = 2 * (0.005 + 0.005 * per_slice)
    assert row[1] + row[0] * per_slice == pytest.approx(row[3] + row[2] * per_slice, abs=rounding)


def test_counts_by_patient() -> None:
    counts = count_by_patient(DETECTIONS, TRUTH, PATIENTS, 0.25).set_index("patient_id")
    assert counts.loc["a"].to_dict() == {"true_positives": 1, "false_positives": 1, "lesions": 2, "slices": 1}
    assert counts.loc["b"].to_dict() == {"true_positives": 1, "false_positives": 2, "lesions": 1, "slices": 2}


def test_figures_are_over_all_lesions_and_all_slices() -> None:
    loose = figures(count_by_patient(DETECTIONS, TRUTH, PATIENTS, 0.25))
    strict = figures(count_by_patient(DETECTIONS, TRUTH, PATIENTS, 0.5))
    assert (loose["sensitivity"], loose["fps_per_slice"]) == (2 / 3, 3 / 3)
    assert (strict["sensitivity"], strict["fps_per_slice"]) == (1 / 3, 4 / 3)
    assert loose["true_positives"] + loose["false_positives"] == strict["true_positives"] + strict["false_positives"]


def test_no_detections_is_a_sensitivity_of_zero_and_no_lesions_is_refused() -> None:
    nothing = figures(count_by_patient(DETECTIONS.iloc[:0], TRUTH, PATIENTS, 0.5))
    assert (nothing["sensitivity"], nothing["fps_per_slice"], nothing["lesions"], nothing["slices"]) == (0, 0, 3, 3)
    with pytest.raises(ValueError, match="No lesion"):
        figures(count_by_patient(DETECTIONS, [np.zeros((0, 4))] * 3, PATIENTS, 0.5))


def test_froc_passes_detections_of_equal_confidence_together() -> None:
    hit = np.array([True, False, False, True, False])
    curve = froc_points(DETECTIONS["confidence"].to_numpy(), hit, lesions=3, slices=3)
    assert curve["confidence"].tolist() == [np.inf, 0.9, 0.8, 0.7, 0.1]
    np.testing.assert_allclose(curve["sensitivity"], [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(curve["fps_per_slice"], [0, 0, 1 / 3, 2 / 3, 1])


def test_froc_without_detections_or_without_lesions() -> None:
    assert len(froc_points(np.zeros(0), np.zeros(0, bool), lesions=1, slices=1)) == 1
    with pytest.raises(ValueError, match="0 lesions"):
        froc_points(np.zeros(0), np.zeros(0, bool), lesions=0, slices=1)
