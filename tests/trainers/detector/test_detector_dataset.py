from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainers.disc_slices import SIZE, make_slice_set, tiny_config
from trainers.data.slice_set import SliceSet
from trainers.detector.dataset import StepBatches, augment, detector_rows, open_slices, picked_slices
from trainers.exceptions import SliceSetError, TrainingError


def test_every_slice_is_seen_equally_often_and_ranks_share_a_step() -> None:
    whole = [picked_slices(3, 10, 4, step, 0, 1) for step in range(5)]
    assert (np.bincount(np.concatenate(whole)) == 2).all()
    shared = [np.concatenate([picked_slices(3, 10, 4, step, rank, 2) for rank in range(2)]) for step in range(5)]
    np.testing.assert_array_equal(whole, shared)


def test_the_order_depends_on_the_seed() -> None:
    assert (picked_slices(0, 50, 25, 0, 0, 1) != picked_slices(1, 50, 25, 0, 0, 1)).any()


def test_lesion_free_slices_of_tumour_patients_count_and_normal_subjects_do_not(discs: SliceSet) -> None:
    assert len(detector_rows(discs, "train")) == 25
    discs.slices["subject_kind"], before = "normal", discs.slices["subject_kind"]
    try:
        assert len(detector_rows(discs, "train")) == 24
    finally:
        discs.slices["subject_kind"] = before


def test_a_count_is_a_prefix_of_the_synthetic_slices(discs: SliceSet, synthetic_discs: SliceSet) -> None:
    some, more = (open_slices(discs, "train", [synthetic_discs], count) for count in (3, 7))
    assert (len(some), len(more)) == (28, 32)
    places = np.arange(25, 28)
    assert torch.equal(some.images(places), more.images(places))
    np.testing.assert_array_equal(some.images(places)[:, 0], synthetic_discs.images[:3])
    np.testing.assert_array_equal(np.concatenate(some.boxes), np.concatenate(more.boxes[:28]))


def test_more_synthetic_slices_than_there_are_is_refused(discs: SliceSet, synthetic_discs: SliceSet) -> None:
    with pytest.raises(SliceSetError, match="11 synthetic slices"):
        open_slices(discs, "train", [synthetic_discs], 11)


def test_a_split_without_lesion_is_refused(tmp_path: Path) -> None:
    healthy = make_slice_set(tmp_path, {"train": 2, "validation": 2}, lesions=False)
    with pytest.raises(TrainingError, match="no lesion in the validation split"):
        open_slices(healthy, "validation")


def test_boxes_follow_their_lesions_through_augmentation(discs: SliceSet) -> None:
    config = tiny_config(batch=24, steps=4, evaluate_every=4, intensity=0.1)
    seen = 0
    for batch in StepBatches(open_slices(discs, "train"), config):
        done = augment(batch, config, torch.device("cpu"))
        assert done["img"].shape == (24, 1, 64, 64)
        assert 0 <= done["img"].min() <= done["img"].max() <= 1
        for box, owner in zip(done["bboxes"] * 64, done["batch_idx"].long(), strict=True):
            corners = torch.cat([box[[1, 0]] - box[[3, 2]] / 2, box[[1, 0]] + box[[3, 2]] / 2])
            if corners.min() < 1 or corners.max() > 63:  # a disc cut by the edge is narrower than its box
                continue
            bright = (done["img"][owner, 0] > 0.5).nonzero().float() + 0.5
            low, high = bright.amin(0), bright.amax(0)
            assert (torch.cat([low, high]) - corners).abs().max() < 2.5
            seen += 1
    assert seen > 60


def test_augmentation_is_decided_by_the_step_alone(discs: SliceSet) -> None:
    config = tiny_config()
    first, again = ([augment(b, config, torch.device("cpu")) for b in StepBatches(open_slices(discs, "train"), config)]
                    for _ in range(2))  # fmt: skip
    assert torch.equal(first[0]["img"], again[0]["img"])
    assert not torch.equal(first[0]["img"], first[1]["img"])


def test_without_augmentation_boxes_only_change_their_form(discs: SliceSet) -> None:
    config = tiny_config(flip=0, translate=0, scale=0, intensity=0)
    batch = next(iter(StepBatches(open_slices(discs, "train"), config)))
    done = augment(batch, config, torch.device("cpu"))
    centres = (batch["pixels"][:, :2] + batch["pixels"][:, 2:]) / 2 / SIZE
    torch.testing.assert_close(done["bboxes"][:, :2], centres)
    torch.testing.assert_close(done["bboxes"][:, 2:], (batch["pixels"][:, 2:] - batch["pixels"][:, :2]) / SIZE)
