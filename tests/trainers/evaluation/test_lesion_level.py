from __future__ import annotations

import numpy as np
import pytest

from tests.trainers.evaluation.cases import make_detections, make_outcome, make_truth
from trainers.evaluation.lesion_level import lesion_figures, lesions_3d, link_boxes

SLICES = [("a", "s", "v1", 3), ("a", "s", "v1", 4), ("a", "s", "v1", 6), ("b", "s", "v2", 4)]
A, B = (0, 0, 10, 10), (50, 50, 60, 60)


def test_a_lesion_is_found_if_any_of_its_slices_is_hit() -> None:
    truth = make_truth(SLICES, [(0, *A, 1, 9.0), (1, *A, 1, 9.0), (1, *B, 2, 4.0), (3, *A, 1, 30.0)])
    found = lesion_figures(make_outcome(truth, [(1, *A, 0.9), (3, *B, 0.8)]))
    assert found is not None
    assert (found["true_positives"], found["lesions"], found["sensitivity"]) == (1, 3, 1 / 3)
    assert found["by_diameter"] == {
        "<5": {"sensitivity": 0.0, "true_positives": 0, "lesions": 1},
        "5-10": {"sensitivity": 1.0, "true_positives": 1, "lesions": 1},
        ">=20": {"sensitivity": 0.0, "true_positives": 0, "lesions": 1},
    }


def test_false_positives_that_continue_over_slices_count_once_a_volume() -> None:
    truth = make_truth(SLICES, [(0, *A, 1, 9.0)])
    detections = [(0, *B, 0.9), (1, 51, 50, 61, 60, 0.5), (2, *B, 0.4), (3, *B, 0.4)]
    found = lesion_figures(make_outcome(truth, detections))
    assert found is not None
    assert found["false_positives"] == 3, "z 3 and 4 are one, z 6 is not a neighbour, v2 is another volume"
    assert found["fps_per_volume"] == 3 / 2


def test_a_chain_that_hits_somewhere_is_no_false_positive() -> None:
    truth = make_truth(SLICES, [(0, *A, 1, 9.0)])
    found = lesion_figures(make_outcome(truth, [(0, *A, 0.9), (1, *A, 0.8)]))
    assert found is not None
    assert (found["true_positives"], found["false_positives"]) == (1, 0)


def test_lesions_without_a_number_are_linked() -> None:
    boxes = [(0, *A, None, np.nan), (1, 2, 0, 12, 10, None, np.nan), (1, *B, None, np.nan), (2, *B, None, np.nan)]
    assert lesions_3d(make_truth(SLICES, boxes)).tolist() == [0, 0, 1, 2]


def test_a_lesion_number_holds_within_its_volume() -> None:
    assert lesions_3d(make_truth(SLICES, [(0, *A, 7, 1.0), (2, *B, 7, 1.0), (3, *A, 7, 1.0)])).tolist() == [0, 0, 1]


def test_volumes_of_one_name_are_apart_if_their_patients_differ() -> None:
    slices = [("a", "s", "v", 3), ("b", "s", "v", 3), ("b", "s", "v", 4)]
    numbered = [(0, *A, 1, 9.0), (2, *A, 1, 9.0)]
    assert lesions_3d(make_truth(slices, numbered)).tolist() == [0, 1]
    assert lesions_3d(make_truth(slices, [(*row[:5], None, 9.0) for row in numbered])).tolist() == [0, 1]
    found = lesion_figures(make_outcome(make_truth(slices, numbered), [(0, *B, 0.9), (1, *B, 0.9), (2, *B, 0.9)]))
    assert found is not None
    assert (found["volumes"], found["false_positives"]) == (2, 2)


def test_boxes_that_hardly_overlap_are_two_objects() -> None:
    truth = make_truth(SLICES, [(0, *A, 1, 9.0)])
    chains = link_boxes(make_detections([(0, *A, 0.9), (1, 9, 9, 19, 19, 0.9)]), truth.slices)
    assert chains.tolist() == [0, 1]


def test_nothing_detected() -> None:
    found = lesion_figures(make_outcome(make_truth(SLICES, [(0, *A, 1, 9.0)]), []))
    assert found is not None
    assert (found["sensitivity"], found["fps_per_volume"], found["lesions"]) == (0, 0, 1)


@pytest.mark.parametrize("column", ["volume", "z"])
def test_without_volume_or_z_there_is_no_lesion_level(column: str) -> None:
    truth = make_truth(SLICES, [(0, *A, 1, 9.0)])
    truth.slices[column] = None
    assert lesion_figures(make_outcome(truth, [])) is None
