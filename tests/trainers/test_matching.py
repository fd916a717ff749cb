from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.matching import DETECTION_COLUMNS, FREE_OF_LESION, match, overlaps

Row = tuple[int, float, float, float, float, float]


def table(*rows: Row) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(DETECTION_COLUMNS)).astype({"slice": np.int64})


def lesions(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def test_the_most_confident_takes_the_lesion_and_duplicates_are_false_positives() -> None:
    detections = table((0, 0, 0, 10, 9, 0.5), (0, 0, 0, 10, 10, 0.4), (0, 0, 0, 9, 10, 0.9))
    assert match(detections, [lesions((0, 0, 10, 10))], 0.5).tolist() == [FREE_OF_LESION, FREE_OF_LESION, 0]


def test_of_equally_confident_detections_the_first_wins() -> None:
    detections = table((0, 0, 0, 10, 8, 0.5), (0, 0, 0, 10, 10, 0.5))
    assert match(detections, [lesions((0, 0, 10, 10))], 0.5).tolist() == [0, FREE_OF_LESION]


def test_a_detection_takes_the_best_lesion_that_is_still_free() -> None:
    truth = [lesions((0, 0, 10, 10), (2, 0, 12, 10))]
    detections = table((0, 0, 0, 10, 10, 0.9), (0, 0, 0, 10, 10, 0.8), (0, 0, 0, 10, 10, 0.7))
    assert match(detections, truth, 0.5).tolist() == [0, 1, FREE_OF_LESION]


def test_the_threshold_is_inclusive() -> None:
    half = table((0, 0, 0, 10, 5, 0.9))
    assert match(half, [lesions((0, 0, 10, 10))], 0.5).tolist() == [0]
    assert match(half, [lesions((0, 0, 10, 10))], 0.5001).tolist() == [FREE_OF_LESION]


def test_slices_do_not_mix() -> None:
    detections = table((1, 0, 0, 10, 10, 0.9), (0, 0, 0, 10, 10, 0.8), (2, 0, 0, 10, 10, 0.7))
    truth = [lesions(), lesions((0, 0, 10, 10)), lesions((0, 0, 10, 10))]
    assert match(detections, truth, 0.5).tolist() == [0, FREE_OF_LESION, 0]


def test_nothing_detected_and_nothing_to_detect() -> None:
    assert match(table(), [lesions((0, 0, 1, 1))], 0.5).tolist() == []
    assert match(table((0, 0, 0, 1, 1, 0.5)), [lesions()], 0.5).tolist() == [FREE_OF_LESION]


def test_a_box_without_area_hits_nothing() -> None:
    assert match(table((0, 5, 5, 5, 9, 0.9)), [lesions((5, 5, 5, 9), (0, 0, 9, 9))], 0.01).tolist() == [FREE_OF_LESION]
    assert overlaps(np.array([3, 3, 3, 3]), np.array([3, 3, 3, 3])) == 0


@pytest.mark.parametrize(
    ("detections", "iou", "message"),
    [
        (table((0, 0, 0, 1, 1, 0.5)), 0.0, "iou is 0.0"),
        (table((2, 0, 0, 1, 1, 0.5)), 0.5, "slices 2 to 2; allowed: 0 to 0"),
        (table((0, 0, 0, 1, np.nan, 0.5)), 0.5, "not finite"),
    ],
)
def test_bad_input_is_refused(detections: pd.DataFrame, iou: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        match(detections, [lesions((0, 0, 1, 1))], iou)


def brute_force(detections: list[Row], truth: list[np.ndarray], iou: float) -> list[int]:
    """The rule, word by word."""
    found = [FREE_OF_LESION] * len(detections)
    for where, of_slice in enumerate(truth):
        free = set(range(len(of_slice)))
        mine = [i for i, row in enumerate(detections) if row[0] == where]
        for i in sorted(mine, key=lambda i: -detections[i][5]):
            best, best_overlap = FREE_OF_LESION, 0.0
            for j in sorted(free):
                shared_x = min(detections[i][3], of_slice[j][2]) - max(detections[i][1], of_slice[j][0])
                shared_y = min(detections[i][4], of_slice[j][3]) - max(detections[i][2], of_slice[j][1])
                shared = max(shared_x, 0) * max(shared_y, 0)
                areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (detections[i][1:5], of_slice[j].tolist())]
                overlap = shared / (sum(areas) - shared) if shared else 0.0
                if overlap >= max(iou, best_overlap):
                    best, best_overlap = j, overlap
            found[i] = best
            free.discard(best)
    return found


corner, side = st.integers(0, 6), st.integers(1, 5)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
truths = st.lists(st.lists(box, max_size=4).map(lambda boxes: lesions(*boxes)), min_size=1, max_size=3)
confidences = st.sampled_from([0.1, 0.2, 0.5, 0.9])


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Row], list[np.ndarray]]:
    truth = draw(truths)
    row = st.tuples(st.integers(0, len(truth) - 1), box, confidences).map(lambda r: (r[0], *r[1], r[2]))
    return draw(st.lists(row, max_size=12)), truth


@given(cases(), st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_it_agrees_with_brute_force(case: tuple[list[Row], list[np.ndarray]], iou: float) -> None:
    detections, truth = case
    assert match(table(*detections), truth, iou).tolist() == brute_force(detections, truth, iou)


@given(cases(), st.sampled_from([0.2, 0.5, 0.9]))
def test_a_higher_confidence_threshold_keeps_the_hits_of_what_stays(
    case: tuple[list[Row], list[np.ndarray]], threshold: float
) -> None:
    rows, truth = case
    detections = table(*rows)
    kept = (detections["confidence"] >= threshold).to_numpy()
    assert match(detections, truth, 0.5)[kept].tolist() == match(detections[kept], truth, 0.5).tolist()
