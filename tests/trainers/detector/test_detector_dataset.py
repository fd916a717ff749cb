from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainers.disc_slices import make_slice_set
from trainers.data.slice_set import SliceSet, write_slice_set
from trainers.data.slice_set import open_slice_set as reopen
from trainers.detector.dataset import detector_rows, open_slices
from trainers.exceptions import SliceSetError, TrainingError


def test_lesion_free_slices_of_tumour_patients_count_and_normal_subjects_do_not(discs: SliceSet) -> None:
    assert len(detector_rows(discs, "train")) == 25
    discs.slices["subject_kind"], before = "normal", discs.slices["subject_kind"]
    try:
        assert len(detector_rows(discs, "train")) == 24
    finally:
        discs.slices["subject_kind"] = before


def test_a_count_is_a_prefix_of_the_shards_and_stays_on_disk(
    tmp_path: Path, discs: SliceSet, synthetic_discs: SliceSet
) -> None:
    shards = [synthetic_discs, make_slice_set(tmp_path, {"train": 4}, seed=2, synthetic=True)]
    whole = np.concatenate([shard.images for shard in shards])
    boxes = [found for shard in shards for found in shard.boxes_by_slice()]
    for count in (3, 10, 12):
        opened = open_slices(discs, "train", shards, count)
        assert len(opened) == 25 + count
        np.testing.assert_array_equal([opened.image(25 + i) for i in range(count)], whole[:count])
        np.testing.assert_array_equal(np.concatenate(opened.boxes[25:]), np.concatenate(boxes[:count]))
        with pytest.raises(IndexError):
            opened.image(25 + count)
        assert all(isinstance(shard, np.memmap) for shard in opened.synthetic)
        assert isinstance(opened.image(25), np.memmap)


def test_more_synthetic_slices_than_there_are_is_refused(discs: SliceSet, synthetic_discs: SliceSet) -> None:
    with pytest.raises(SliceSetError, match=rf"11 synthetic slices.*hold 10 \({synthetic_discs.path}\)"):
        open_slices(discs, "train", [synthetic_discs], 11)
    with pytest.raises(SliceSetError, match=r"1 synthetic slices.*hold 0 \(none given\)"):
        open_slices(discs, "train", [], 1)


def test_synthetic_slices_of_another_size_are_refused(
    tmp_path: Path, discs: SliceSet, synthetic_discs: SliceSet
) -> None:
    doubled = synthetic_discs.images.repeat(2, axis=1).repeat(2, axis=2)
    write_slice_set(tmp_path / "large", doubled, synthetic_discs.slices, synthetic_discs.boxes, {})
    with pytest.raises(TrainingError, match=rf"large: .*64 x 64 pixels; needed: 32 x 32.*{discs.path}"):
        open_slices(discs, "train", [reopen(tmp_path / "large")], 1)


def test_real_slices_given_as_synthetic_are_refused(discs: SliceSet, synthetic_discs: SliceSet) -> None:
    """They would bring their test split into training; also where the shards before them already hold enough."""
    with pytest.raises(TrainingError, match=rf"{discs.path} is given as synthetic.*metsweep synthesize"):
        open_slices(discs, "train", [synthetic_discs, discs], 3)


def test_a_split_without_lesion_is_refused(tmp_path: Path) -> None:
    healthy = make_slice_set(tmp_path, {"train": 2, "validation": 2}, lesions=False)
    with pytest.raises(TrainingError, match=rf"{tmp_path}: no lesion in the validation split"):
        open_slices(healthy, "validation")
