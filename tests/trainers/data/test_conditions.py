from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.data.conditions import (
    ConditionConfig,
    box_contrast,
    conditioning_images,
    draw_condition,
    transform_boxes,
    visibility,
)

SIZE = 64


@st.composite
def annotated_boxes(draw: st.DrawFn) -> np.ndarray:
    boxes = []
    for _ in range(draw(st.integers(1, 4))):
        x0, y0 = draw(st.integers(0, SIZE - 1)), draw(st.integers(0, SIZE - 1))
        boxes.append([x0, y0, draw(st.integers(x0 + 1, SIZE)), draw(st.integers(y0 + 1, SIZE))])
    return np.array(boxes, dtype=np.float32)


@given(annotated_boxes(), st.integers(0, 2**32), st.floats(0, 0.5), st.floats(0, 0.9))
def test_drawn_boxes_stay_in_the_slice_and_are_what_the_conditioning_image_shows(
    boxes: np.ndarray, seed: int, shift: float, zoom: float
) -> None:
    config = ConditionConfig(max_shift=shift, max_zoom=zoom)
    drawn = draw_condition(boxes, SIZE, config, np.random.default_rng(seed))
    assert drawn.shape == boxes.shape
    assert (drawn[:, :2] >= 0).all()
    assert (drawn[:, 2:] <= SIZE).all()
    assert (drawn[:, 2:] > drawn[:, :2]).all()
    image = conditioning_images([drawn], SIZE)[0]
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    inside = np.zeros((SIZE, SIZE), dtype=bool)
    for x0, y0, x1, y1 in drawn:
        inside |= (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    np.testing.assert_array_equal(image, np.where(inside, 255, 0))


def test_transform_moves_boxes_as_it_would_move_the_slice() -> None:
    box = np.array([[2.0, 4.0, 10.0, 8.0]])

    def moved(mirror_x: bool = False, mirror_y: bool = False, shift: tuple[float, float] = (0, 0), zoom: float = 1.0):
        return transform_boxes(box, 16, mirror_x=mirror_x, mirror_y=mirror_y, shift=shift, zoom=zoom).tolist()[0]

    white = conditioning_images([box], 16)
    np.testing.assert_array_equal(conditioning_images([np.array([moved(mirror_x=True)])], 16), white[:, :, ::-1])
    np.testing.assert_array_equal(conditioning_images([np.array([moved(mirror_y=True)])], 16), white[:, ::-1])
    assert moved(shift=(3, -1)) == [5, 3, 13, 7]
    assert moved(zoom=2.0) == [-4, 0, 12, 8]
    assert moved(mirror_x=True, shift=(1, 0), zoom=0.5) == [8, 6, 12, 8]


def test_flips_only_where_allowed() -> None:
    box = np.array([[2.0, 4.0, 10.0, 8.0]])
    rng = np.random.default_rng(0)
    still = ConditionConfig(horizontal_flip=False, vertical_flip=False, max_shift=0.0, max_zoom=0.0)
    mirrored = ConditionConfig(horizontal_flip=True, vertical_flip=False, max_shift=0.0, max_zoom=0.0)
    assert {tuple(draw_condition(box, 16, still, rng)[0]) for _ in range(20)} == {(2, 4, 10, 8)}
    assert {tuple(draw_condition(box, 16, mirrored, rng)[0]) for _ in range(20)} == {(2, 4, 10, 8), (6, 4, 14, 8)}


def test_draws_that_lose_a_box_are_drawn_again() -> None:
    corner = np.array([[0.0, 0.0, 6.0, 6.0]])
    config = ConditionConfig(max_shift=0.4, max_zoom=0.0, min_visible=0.8, horizontal_flip=False, vertical_flip=False)
    rng = np.random.default_rng(1)
    drawn = np.concatenate([draw_condition(corner, SIZE, config, rng) for _ in range(200)])
    areas = (drawn[:, 2:] - drawn[:, :2]).prod(axis=1)
    assert areas.min() >= 0.8 * 36 - 6
    assert len(np.unique(drawn[:, 0])) > 5


def test_box_without_pixel_centre_still_shows() -> None:
    image = conditioning_images([np.array([[3.1, 3.1, 3.2, 3.2]])], 8)[0]
    assert image.sum() == 255


def test_box_contrast_by_hand() -> None:
    image = np.zeros((16, 16), dtype=np.uint8)
    image[4:8, 4:8] = 100
    image[2:10, 2:10] += 10
    image[4:8, 9:13] = 200
    one = np.array([[4, 4, 8, 8]], dtype=np.float32)
    both = np.array([[4, 4, 8, 8], [9, 4, 13, 8]], dtype=np.float32)
    ring = np.full((8, 8), 10.0)
    ring[2:6, 7] = 200
    ring[2:6, 2:6] = np.nan
    assert box_contrast(image[None], [one])[0] == pytest.approx(110 - np.nanmean(ring), abs=1e-4)
    assert box_contrast(image[None], [both])[0] == pytest.approx(100, abs=1e-4)
    assert len(box_contrast(image[None], [np.zeros((0, 4))])) == 0
    assert np.isnan(box_contrast(image[None], [np.array([[0, 0, 16, 16]])])[0])


def test_a_zoomed_out_box_never_vanishes() -> None:
    """A pixel-sized box at the edge of the slice, at the largest zoom that a config allows."""
    edge = np.array([[0.0, 31.0, 1.0, 32.0], [20.0, 20.0, 40.0, 40.0]])
    rng = np.random.default_rng(2)
    for zoom, least in ((0.99, 1.0), (0.1, 2.0)):
        config = ConditionConfig(max_zoom=zoom, max_shift=0.5, min_box_side=least)
        for _ in range(200):
            drawn = draw_condition(edge, SIZE, config, rng)
            assert drawn.shape == (2, 4)
            assert (drawn[:, 2:] - drawn[:, :2]).min() >= 1
            assert conditioning_images([drawn[:1]], SIZE).sum() >= 255


def test_a_box_keeps_its_least_side_unless_it_was_annotated_narrower() -> None:
    config = ConditionConfig(max_zoom=0.9, max_shift=0.0, min_box_side=3.0)
    rng = np.random.default_rng(3)
    drawn = np.concatenate([draw_condition(np.array([[20.0, 20.0, 24.0, 24.0]]), SIZE, config, rng) for _ in range(99)])
    sides = drawn[:, 2:] - drawn[:, :2]
    assert sides.min() == 3
    assert sides.max() > 5


def brain_with_spot(spot: int) -> np.ndarray:
    image = np.zeros((16, 16), dtype=np.uint8)
    image[2:14, 2:14] = np.where(np.indices((12, 12)).sum(axis=0) % 2, 90, 110)
    image[6:10, 6:10] = 100
    image[7:9, 7:9] = spot
    return image


def test_visibility_by_hand() -> None:
    box = np.array([[6.0, 6.0, 10.0, 10.0]])
    # 4 of 16 pixels are bright, so the upper decile is; the ring's median is 110, as 24 of its 48 pixels are (the
    # upper of the two middle ones counts), and their median distance from it is 20 for the same reason.
    assert visibility(brain_with_spot(200)[None], [box])[0] == pytest.approx((200 - 110) / (1.4826 * 20 + 8))
    assert visibility(brain_with_spot(100)[None], [box])[0] == pytest.approx((100 - 110) / (1.4826 * 20 + 8))


def test_the_least_visible_box_decides_and_background_does_not() -> None:
    image = brain_with_spot(200)
    image[2:4, 2:4] = 95
    seen, missed = np.array([[6.0, 6.0, 10.0, 10.0]]), np.array([[2.0, 2.0, 4.0, 4.0]])
    scores = [visibility(image[None], [boxes])[0] for boxes in (seen, missed, np.concatenate([seen, missed]))]
    assert scores[1] == scores[2] < 0 < scores[0]
    corner = np.array([[2.0, 2.0, 6.0, 6.0]])
    with_background, without = brain_with_spot(100), np.pad(brain_with_spot(100)[2:14, 2:14], 2, mode="symmetric")
    assert visibility(with_background[None], [corner])[0] == pytest.approx(visibility(without[None], [corner])[0])


def test_visibility_where_there_is_nothing_to_compare_with() -> None:
    black, white = np.zeros((16, 16), dtype=np.uint8), np.full((16, 16), 255, dtype=np.uint8)
    box, whole, nothing = np.array([[4.0, 4.0, 8.0, 8.0]]), np.array([[0.0, 0.0, 16.0, 16.0]]), np.zeros((0, 4))
    scores = visibility(np.stack([black, white, white, black]), [box, box, whole, nothing])
    assert scores.tolist() == [0, 0, 0, float("inf")]
    in_background = black.copy()
    in_background[4:8, 4:8] = 80
    assert visibility(in_background[None], [box])[0] == 0
    in_background[4:8, 8:10] = 30
    assert visibility(in_background[None], [box])[0] == 0, "a speck beside a spot is no brain"
    in_background[2:10, 8:10] = 30
    assert visibility(in_background[None], [box])[0] == pytest.approx((80 - 30) / 8)
