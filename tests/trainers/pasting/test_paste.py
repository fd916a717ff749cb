"""Shards of pasted slices: nested, resumable, of training slices alone, at the same places for every variant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.trainers.gan.tiny_runs import Interruptible, KilledError
from tests.trainers.pasting.brains import SIZE, SYNTHESIS, make_brains, pasted
from trainers.data.conditions import box_contrast
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.gan import filling
from trainers.gan.review import Review
from trainers.pasting.config import PasteConfig
from trainers.pasting.hosts import choose_places, hosts_of
from trainers.pasting.lesions import training_lesions
from trainers.pasting.paste import paste
from trainers.variants import PASTED


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    return make_brains(tmp_path_factory.mktemp("brains"))


@pytest.mark.parametrize("variant", PASTED)
def test_fewer_slices_are_the_first_of_more(variant: str, brains: SliceSet, tmp_path: Path) -> None:
    larger = SYNTHESIS.model_copy(update={"shard_size": 16})
    more = pasted(brains, tmp_path / "more", synthesis=larger, variant=variant)
    parts = [pasted(brains, tmp_path / f"{shard}", shard, variant=variant) for shard in (0, 1)]
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), more.images)
    pd.testing.assert_frame_equal(pd.concat([part.boxes for part in parts], ignore_index=True), more.boxes)
    assert len({image.tobytes() for image in more.images}) == 16
    assert more.meta["source"].startswith(f"{variant}-")
    assert more.meta["learnt_from"]["slices"] == brains.fingerprint
    other = pasted(brains, tmp_path / "other", synthesis=SYNTHESIS.model_copy(update={"seed": 4}), variant=variant)
    assert (other.images != more.images[:8]).any()


def test_a_slice_is_a_training_slice_with_more_lesions(brains: SliceSet, tmp_path: Path) -> None:
    made = pasted(brains, tmp_path, variant="copy_paste", most_lesions=3)
    real = brains.images[brains.indices("train")].astype(int)
    own = brains.boxes_by_slice()
    counts = set()
    for image, boxes in zip(made.images.astype(int), made.boxes_by_slice(), strict=True):
        host = int(np.argmin([(image != other).sum() for other in real]))
        np.testing.assert_array_equal(boxes[0], own[host][0])
        covered = np.zeros((SIZE, SIZE), dtype=bool)
        for x0, y0, x1, y1 in boxes[1:].astype(int):
            covered[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1] = True  # the rim of a lesion may leave its box
        np.testing.assert_array_equal(image[~covered], real[host][~covered])
        assert (box_contrast(image[None], [boxes]) > 15).all()
        overlaps = [
            (np.minimum(one[2:], two[2:]) > np.maximum(one[:2], two[:2])).all()
            for number, one in enumerate(boxes)
            for two in boxes[:number]
        ]
        assert not any(overlaps)
        counts.add(len(boxes))
    assert counts <= {2, 3, 4}
    assert len(counts) > 1


@pytest.mark.parametrize("variant", PASTED)
def test_nothing_of_other_splits_gets_in(variant: str, brains: SliceSet, tmp_path: Path) -> None:
    made = pasted(brains, tmp_path / "made", variant=variant)
    held_out = (brains.slices["split"] != "train").to_numpy()
    images = np.array(brains.images)
    images[held_out] = np.random.default_rng(0).integers(0, 256, images[held_out].shape)
    boxes = brains.boxes.copy()
    boxes.loc[~boxes["slice_id"].str.startswith("train"), ["x0", "y0", "x1", "y1"]] = [2, 2, 40, 40]
    changed = pasted(SliceSet(brains.path, images, brains.slices, boxes, {}), tmp_path / "changed", variant=variant)
    np.testing.assert_array_equal(changed.images, made.images)
    pd.testing.assert_frame_equal(changed.boxes, made.boxes)
    assert changed.meta["source"] == made.meta["source"]
    images[0] = 255 - images[0]
    trained = pasted(SliceSet(brains.path, images, brains.slices, boxes, {}), tmp_path / "trained", variant=variant)
    assert trained.meta["source"] != made.meta["source"]


def test_a_placebo_takes_the_places_of_lesions(brains: SliceSet, tmp_path: Path) -> None:
    plain = SYNTHESIS.model_copy(update={"curate": False})
    lesions = pasted(brains, tmp_path / "lesions", synthesis=plain, variant="copy_paste")
    discs = pasted(brains, tmp_path / "discs", synthesis=plain, variant="noise_to_box")
    pd.testing.assert_frame_equal(lesions.boxes, discs.boxes)
    assert (lesions.images != discs.images).any(axis=(1, 2)).all()
    contrasts = box_contrast(discs.images, discs.boxes_by_slice())
    assert (contrasts > 15).all()


def test_lesions_of_hosts_are_not_judged(brains: SliceSet, tmp_path: Path) -> None:
    lesions, scores = training_lesions(brains), []
    for name, level in {"faint": 90, "bright": 255}.items():
        images = np.array(brains.images)
        for image, boxes in zip(images, brains.boxes_by_slice(), strict=True):
            for x0, y0, x1, y1 in boxes.astype(int):
                image[y0:y1, x0:x1] = level
        hosts = SliceSet(brains.path, images, brains.slices, brains.boxes, {})
        plain, context = SYNTHESIS.model_copy(update={"curate": False}), Interruptible(tmp_path / "checkpoints")
        paste(lesions, hosts, PasteConfig(), plain, 0, Review(), tmp_path / name, context)
        scores.append(open_slice_set(tmp_path / name).slices["visibility"])
    np.testing.assert_array_equal(*scores)
    assert (scores[0] > 1).all()


def test_a_drawing_stays_in_the_brain_and_off_other_boxes(brains: SliceSet) -> None:
    images = np.array(brains.images)
    images[:, 23:26, 23:26] = 0  # a ventricle
    hosts = hosts_of(SliceSet(brains.path, images, brains.slices, brains.boxes, {}))
    lesions, config = training_lesions(brains), PasteConfig(most_lesions=3)
    chosen = [choose_places(hosts, lesions, config, 0, image, 0) for image in range(8)]
    assert max(len(each.places) for each in chosen) > 1
    for each in chosen:
        for place in each.places:
            expected = brains.images[each.host.row] > 20
            for x0, y0, x1, y1 in each.boxes.astype(int):
                expected[y0:y1, x0:x1] &= (place.box == [x0, y0, x1, y1]).all()
            np.testing.assert_array_equal(each.free(place), expected)


def test_killed_shard_continues_to_the_same_result(
    brains: SliceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SYNTHESIS.model_copy(update={"shard_size": 24, "threshold_quantile": 0.9})
    whole = pasted(brains, tmp_path / "whole", synthesis=config)
    monkeypatch.setattr(filling, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KilledError):
        pasted(brains, tmp_path / "stopped", 0, Interruptible(tmp_path / "kept", kill_after=1), config)
    context = Interruptible(tmp_path / "kept")
    continued = pasted(brains, tmp_path / "continued", 0, context, config)
    np.testing.assert_array_equal(continued.images, whole.images)
    assert continued.meta == whole.meta
    assert whole.meta["curation"]["attempts"] > 24, "this shard does not test how images are drawn again"


def test_a_slice_without_room_is_drawn_again(brains: SliceSet, tmp_path: Path) -> None:
    crowded = pd.DataFrame([("train-0", 0.0, 0.0, 48.0, 48.0)], columns=["slice_id", "x0", "y0", "x1", "y1"])
    boxes = pd.concat([brains.boxes, crowded], ignore_index=True)
    full = SliceSet(brains.path, brains.images, brains.slices, boxes, {})
    made = pasted(full, tmp_path, synthesis=SYNTHESIS.model_copy(update={"shard_size": 30, "max_attempts": 20}))
    assert not any((of_slice == [0, 0, 48, 48]).all(axis=1).any() for of_slice in made.boxes_by_slice())
