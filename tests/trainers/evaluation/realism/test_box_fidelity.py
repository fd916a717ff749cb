"""Recall of conditioning boxes, beside boxes of the same sizes elsewhere on the brain."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trainers.evaluation.cases import Detection, make_detections, make_truth
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.realism.box_fidelity import box_fidelity, place_randomly

SIZE = 64
CONFIG = EvaluationConfig(bootstraps=200)


@pytest.fixture
def brains() -> np.ndarray:
    """20 slices with a bright disc of radius 24, which is the brain."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    disc = ((rows - 32) ** 2 + (columns - 32) ** 2 <= 24**2) * 120
    return np.repeat(disc[None].astype(np.uint8), 20, axis=0)


@pytest.fixture
def asked(brains: np.ndarray) -> list[np.ndarray]:
    """One or two boxes a slice, all on the brain; none in the last slice."""
    draw = np.random.default_rng(0)
    corners = [draw.integers(20, 36, (1 + i % 2, 2)) for i in range(len(brains) - 1)]
    return [
        *(np.hstack([one, one + np.array([6, 9])]).astype(np.float32) for one in corners),
        np.zeros((0, 4), np.float32),
    ]


def test_random_boxes_keep_size_lie_on_brain_and_apart_from_those_asked_for(
    brains: np.ndarray, asked: list[np.ndarray]
) -> None:
    placed = place_randomly(brains, asked, 5, seed=0)
    assert len(placed) == 5
    places = set()
    for placement in placed:
        for image, boxes, moved in zip(brains, asked, placement, strict=True):
            assert moved.shape == boxes.shape
            assert moved[:, 2:] - moved[:, :2] == pytest.approx(boxes[:, 2:] - boxes[:, :2])
            assert ((moved >= 0) & (moved <= SIZE)).all()
            for x0, y0, x1, y1 in moved.round().astype(int):
                assert (image[y0:y1, x0:x1] > 0).mean() >= 0.9
            for a in moved:
                for b in boxes:
                    apart = a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]
                    assert apart
                places.add(tuple(a))
    assert len(places) == 5 * sum(map(len, asked))
    again = place_randomly(brains, asked, 5, seed=0)
    assert all(np.array_equal(a, b) for p, q in zip(placed, again, strict=True) for a, b in zip(p, q, strict=True))


def test_a_box_that_fits_nowhere_is_placed_all_the_same() -> None:
    dark = np.zeros((1, SIZE, SIZE), dtype=np.uint8)
    whole = [np.array([[0, 0, SIZE, SIZE]], dtype=np.float32)]
    assert place_randomly(dark, whole, 1, 0)[0][0].tolist() == [[0, 0, SIZE, SIZE]]


def test_recall_of_boxes_asked_for_and_of_random_ones(brains: np.ndarray, asked: list[np.ndarray]) -> None:
    """The detector finds the boxes of every other slice, and a real lesion of two."""
    rows: list[Detection] = [
        (i, x0, y0, x1, y1, 0.9) for i, boxes in enumerate(asked) if i % 4 < 2 for x0, y0, x1, y1 in boxes.tolist()
    ]
    real = make_truth([("p", "s", "v", 0), ("q", "s", "w", 0)], [(0, 5, 5, 9, 9, 1, 4), (1, 5, 5, 9, 9, 2, 4)])
    on_real = make_detections([(0, 5, 5, 9, 9, 0.5), (1, 40, 40, 50, 50, 0.5)])
    found = box_fidelity(make_detections(rows), brains, asked, on_real, real, CONFIG, 10, 0)
    assert set(found) == {"iou50", "iou25"}
    strict = found["iou50"]
    boxes = sum(map(len, asked))
    assert strict.conditioned.recall == pytest.approx(len(rows) / boxes)
    low, high = strict.conditioned.interval
    assert 0 < low < len(rows) / boxes < high < 1
    assert strict.real.recall == 0.5
    # They keep clear of what was asked for, which is all that was found.
    assert strict.random.recall == 0
    assert strict.random.interval == (0, 0)


def test_detections_everywhere_find_random_boxes_too(brains: np.ndarray, asked: list[np.ndarray]) -> None:
    rows: list[Detection] = [
        (i, x, y, x + 6, y + 9, 0.5) for i in range(len(brains)) for x in range(8, 56, 2) for y in range(8, 56, 2)
    ]
    real = make_truth([("p", "s", "v", 0)], [(0, 5, 5, 9, 9, 1, 4)])
    found = box_fidelity(make_detections(rows), brains, asked, make_detections([]), real, CONFIG, 3, 0)
    assert found["iou25"].random.recall > 0.9
    assert found["iou25"].real.recall == 0
