"""Lesions cut from their surroundings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainers.pasting.brains import SIZE, make_brains
from trainers.data.slice_set import SliceSet
from trainers.exceptions import TrainingError
from trainers.pasting.config import PasteConfig
from trainers.pasting.lesions import FILE, Lesion, cut_lesions, read_counts, read_lesions, training_lesions
from trainers.pasting.membrane import membrane
from trainers.pasting.places import find_place, jittered


def test_a_membrane_continues_what_surrounds_it() -> None:
    rows, columns = np.mgrid[:20, :24]
    ramp = 3.0 * rows - 2.0 * columns + 50
    region = np.hypot(rows - 9, columns - 12) < 5
    hidden = np.where(region, 255, ramp)
    np.testing.assert_allclose(membrane(hidden, region), ramp[region])
    constant = np.where(region, 0, 70)
    np.testing.assert_allclose(membrane(constant, region), 70)


def test_lesions_are_cut_without_their_surroundings(tmp_path: Path) -> None:
    slices = make_brains(tmp_path)
    lesions = training_lesions(slices)
    assert [lesion.row for lesion in lesions] == list(slices.indices("train"))
    for lesion, boxes in zip(lesions, slices.boxes_by_slice(), strict=False):
        image, (top, left), shape = slices.images[lesion.row].astype(int), lesion.corner, lesion.extent.shape
        window = image[top : top + shape[0], left : left + shape[1]]
        bright = window > 150
        assert bright.sum() == (image > 150).sum()
        assert lesion.extent[bright].all()
        np.testing.assert_allclose(lesion.contrast[bright], window[bright] - 90, atol=16)
        assert np.abs(lesion.contrast[lesion.extent & ~bright]).max() < 40
        assert not lesion.contrast[~lesion.extent].any()
        corners = [left - lesion.margins[0], top - lesion.margins[1]]
        ends = [left + shape[1] + lesion.margins[2], top + shape[0] + lesion.margins[3]]
        np.testing.assert_array_equal([*corners, *ends], boxes[0])


def test_faint_lesions_and_those_outside_the_brain_are_left_out(tmp_path: Path) -> None:
    slices = make_brains(tmp_path / "slices")
    images = np.array(slices.images)
    images[0][images[0] > 150] = 90
    images[1] = np.where(images[1] > 150, images[1], 0)
    changed = SliceSet(slices.path, images, slices.slices, slices.boxes, {})
    assert [lesion.row for lesion in training_lesions(changed)] == list(range(2, 10))
    cut_lesions(changed, tmp_path / "out")
    counts = read_counts(tmp_path / "out")
    assert (counts.cut, counts.left_out) == (8, 2)
    assert (tmp_path / "out" / "figures" / "lesions.png").stat().st_size > 2000
    for kept, lesion in zip(read_lesions(tmp_path / "out"), training_lesions(changed), strict=True):
        assert (kept.row, kept.corner) == (lesion.row, lesion.corner)
        for name in ("contrast", "extent", "margins"):
            np.testing.assert_array_equal(getattr(kept, name), getattr(lesion, name))


def test_lesions_of_a_single_slice_cannot_move(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"in 1 of 1 training slices; needed .* at least 2"):
        training_lesions(make_brains(tmp_path, {"train": 1, "test": 3}))
    (tmp_path / FILE).write_bytes(b"damaged")
    with pytest.raises(TrainingError, match=r"lesions\.npz cannot be read .* Cut the lesions again"):
        read_lesions(tmp_path)


def test_a_lesion_turns_and_grows_with_its_margins() -> None:
    contrast = np.arange(1, 16, dtype=np.float32).reshape(3, 5)
    lesion = Lesion(0, (0, 0), contrast, contrast > 0, np.array([1, 2, 3, 4], dtype=np.float32))

    class Fixed(np.random.Generator):
        """Draws the same share of every range."""

        def __init__(self, mirrored: bool, turn: float, zoom: float) -> None:
            super().__init__(np.random.PCG64(0))
            self._values = iter([turn, zoom, 0.5])
            self._mirrored = mirrored

        def random(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
            return 0.0 if self._mirrored else 1.0

        def uniform(self, *_: float) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
            return next(self._values)

    config = PasteConfig(max_zoom=0.5, max_contrast=0.2)
    turned = jittered(lesion, config, Fixed(False, 0.5, 0.0))
    np.testing.assert_allclose(turned.contrast, 1.1 * np.rot90(contrast), rtol=1e-5)
    assert turned.margins.tolist() == [2, 3, 4, 1]
    mirrored = jittered(lesion, config, Fixed(True, 0.0, 0.0))
    np.testing.assert_allclose(mirrored.contrast, 1.1 * contrast[:, ::-1], rtol=1e-5)
    assert mirrored.margins.tolist() == [3, 2, 1, 4]
    larger = jittered(lesion, config, Fixed(False, 0.0, 1.0))
    assert larger.extent.sum() > 1.5 * lesion.extent.sum()
    assert larger.margins.tolist() == [1.5, 3, 4.5, 6]


def test_a_lesion_finds_a_place_in_the_brain_beside_other_boxes() -> None:
    brain = np.zeros((SIZE, SIZE), dtype=bool)
    brain[10:30, 10:30] = True
    contrast = np.ones((6, 6), dtype=np.float32)
    lesion = Lesion(0, (0, 0), contrast, contrast > 0, np.ones(4, dtype=np.float32))
    taken = np.array([[8, 8, 15, 32]], dtype=np.float32)
    rng = np.random.default_rng(0)
    for _ in range(20):
        place = find_place(lesion, brain, taken, rng)
        assert place is not None
        assert brain[place.window].all()
        assert place.box[0] >= 16
        np.testing.assert_array_equal(place.box[2:] - place.box[:2], [8, 8])
    assert find_place(lesion, brain, np.array([[8, 8, 26, 32]], dtype=np.float32), rng) is None
    assert find_place(lesion, np.zeros_like(brain), taken, rng) is None
