"""Windows around boxes, and the config that decides them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainers.inpainting.painted import tiny
from tests.trainers.pasting.brains import make_brains
from trainers.inpainting.windows import TrainingWindows, box_of, corner_for, fits, weights_of
from trainers.pasting.lesions import training_lesions


def test_a_drawing_fades_out_in_the_rim() -> None:
    weights = weights_of(np.array([10, 11, 14, 17]), (4, 2), tiny(window=16, rim=2))
    assert weights.shape == (16, 16)
    np.testing.assert_array_equal(np.argwhere(weights == 1).min(axis=0), [7, 8])
    np.testing.assert_array_equal(np.argwhere(weights == 1).max(axis=0), [12, 11])
    np.testing.assert_allclose(weights[9, 6:15], [1 / 3, 2 / 3, 1, 1, 1, 1, 2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(weights[4:8, 6], [0, 1 / 3, 1 / 3, 1 / 3])


def test_a_box_lies_in_the_middle_of_its_window_if_the_slice_has_room() -> None:
    assert corner_for(np.array([20, 30, 24, 34]), 64, 16) == (24, 14)
    assert corner_for(np.array([20, 30, 24, 34]), 64, 16, np.array([3, -2])) == (22, 17)
    assert corner_for(np.array([0, 60, 4, 64]), 64, 16) == (48, 0)
    assert fits(np.array([0, 0, 8, 12]), tiny(window=16))
    assert not fits(np.array([0, 0, 8, 13]), tiny(window=16))


def test_windows_show_lesions_and_their_boxes(tmp_path: Path) -> None:
    slices = make_brains(tmp_path)
    lesions = training_lesions(slices)
    for lesion, boxes in zip(lesions, slices.boxes_by_slice(), strict=False):
        np.testing.assert_array_equal(box_of(lesion), boxes[0])
    config = tiny(batch_size=20)
    windows = TrainingWindows(config, slices.images, lesions)
    batch = windows.batch(0, range(20))
    assert batch.images.shape == batch.weights.shape == batch.contrast.shape == (20, 24, 24)
    bright = batch.images > 150
    assert bright.any(axis=(1, 2)).all()
    assert (batch.weights[bright] == 1).all(), "mirrored and turned alike"
    assert (batch.contrast[bright] > 0.2).all()
    assert (batch.weights[batch.contrast > 0] == 1).all()
    assert sorted((batch.contrast > 0).sum(axis=(1, 2))) == sorted(2 * [lesion.extent.sum() for lesion in lesions])
    assert len({image.tobytes() for image in batch.images}) == 20, "shifted or turned"

    parts = [TrainingWindows(config, slices.images, lesions).batch(40, range(*ends)) for ends in ((0, 7), (7, 20))]
    whole = windows.batch(40, range(20))
    for name in ("images", "weights", "contrast"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    np.testing.assert_array_equal(windows.examples(3).images, windows.examples(3).images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 25}, "got 25; allowed with 2 widths: multiples of 2"),
        ({"rim": 12}, "rim: got 12; allowed: less than half of the window, 24"),
        ({"widths": (12, 16)}, "multiple of 8"),
        ({"variant": "copy_paste"}, "inpaint"),
    ],
)
def test_values_that_no_network_has_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)
