"""Shards of inpainted slices: nested, resumable, real slices but for the windows, at the places of copy_paste."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.trainers.gan.tiny_runs import Interruptible, KilledError
from tests.trainers.inpainting.painted import painted, tiny, trained
from tests.trainers.pasting.brains import SIZE, SYNTHESIS, make_brains, pasted
from trainers.data.conditions import box_contrast, box_surroundings, stands_out
from trainers.data.slice_set import SliceSet
from trainers.exceptions import TrainingError
from trainers.gan import filling

PLAIN = SYNTHESIS.model_copy(update={"curate": False})


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    return make_brains(tmp_path_factory.mktemp("brains"))


@pytest.fixture(scope="module")
def inpainter(brains: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(brains, tmp_path_factory.mktemp("trained") / "inpainter", total_kimg=0.5, ema=0.95, sampling_steps=4)


def test_fewer_slices_are_the_first_of_more(inpainter: Path, brains: SliceSet, tmp_path: Path) -> None:
    more = painted(inpainter, brains, tmp_path / "more", synthesis=SYNTHESIS.model_copy(update={"shard_size": 16}))
    parts = [painted(inpainter, brains, tmp_path / f"{shard}", shard) for shard in (0, 1)]
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), more.images)
    pd.testing.assert_frame_equal(pd.concat([part.boxes for part in parts], ignore_index=True), more.boxes)
    assert len({image.tobytes() for image in more.images}) == 16
    assert more.meta["source"].startswith("inpaint-")
    assert more.meta["learnt_from"]["slices"] == brains.fingerprint
    assert more.is_synthetic


def test_a_slice_is_a_training_slice_but_for_lesions_at_its_new_boxes(
    inpainter: Path, brains: SliceSet, tmp_path: Path
) -> None:
    made = painted(inpainter, brains, tmp_path, synthesis=PLAIN.model_copy(update={"shard_size": 24}))
    real = brains.images[brains.indices("train")].astype(int)
    own, rim = brains.boxes_by_slice(), tiny().rim
    contrasts, spared = [], np.zeros(2, dtype=int)
    scores = made.slices["visibility"]
    for image, boxes, score in zip(made.images.astype(int), made.boxes_by_slice(), scores, strict=True):
        host = int(np.argmin([(image != other).sum() for other in real]))
        np.testing.assert_array_equal(boxes[0], own[host][0])
        redrawn = np.zeros((SIZE, SIZE), dtype=bool)
        for x0, y0, x1, y1 in boxes[1:].astype(int):
            redrawn[max(0, y0 - rim) : y1 + rim, max(0, x0 - rim) : x1 + rim] = True
        lesion, background = np.zeros_like(redrawn), real[host] == 0
        x0, y0, x1, y1 = boxes[0].astype(int)
        lesion[y0:y1, x0:x1] = True
        kept = ~redrawn | lesion | background
        np.testing.assert_array_equal(image[kept], real[host][kept])
        spared += (redrawn & lesion).sum(), (redrawn & background).sum()
        contrasts += box_contrast(image[None], [boxes])[1:].tolist()
        (surroundings,) = box_surroundings(image[None], [boxes])
        assert score == min((stands_out(*around) for around in surroundings[1:]), default=0)
    assert spared.all(), "no box of these slices lies beside a lesion, or beside the background"
    assert np.median(contrasts) > 10, "the network has learnt that lesions are bright"


def test_lesions_are_drawn_at_the_places_of_copy_paste(inpainter: Path, brains: SliceSet, tmp_path: Path) -> None:
    made = painted(inpainter, brains, tmp_path / "made", synthesis=PLAIN)
    rival = pasted(brains, tmp_path / "rival", synthesis=PLAIN, variant="copy_paste")
    pd.testing.assert_frame_equal(made.boxes, rival.boxes)


def test_other_slices_and_other_networks_are_told_apart(inpainter: Path, brains: SliceSet, tmp_path: Path) -> None:
    images = np.array(brains.images)
    images[0] = 255 - images[0]
    with pytest.raises(TrainingError, match="is not the slice set that"):
        painted(inpainter, SliceSet(brains.path, images, brains.slices, brains.boxes, {}), tmp_path / "other")
    one, other = (
        painted(folder, brains, tmp_path / f"of-{number}", synthesis=PLAIN)
        for number, folder in enumerate((inpainter, trained(brains, tmp_path / "second", seed=1)))
    )
    assert one.meta["source"] != other.meta["source"]
    pd.testing.assert_frame_equal(one.boxes, other.boxes)


def test_killed_shard_continues_to_the_same_result(
    inpainter: Path, brains: SliceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SYNTHESIS.model_copy(update={"shard_size": 20, "threshold_quantile": 0.5})
    whole = painted(inpainter, brains, tmp_path / "whole", synthesis=config)
    monkeypatch.setattr(filling, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KilledError):
        painted(inpainter, brains, tmp_path / "part", 0, Interruptible(tmp_path / "kept", kill_after=1), config)
    continued = painted(inpainter, brains, tmp_path / "part", 0, Interruptible(tmp_path / "kept"), config)
    np.testing.assert_array_equal(continued.images, whole.images)
    assert continued.meta == whole.meta
    assert whole.meta["curation"]["attempts"] > 20, "this shard does not test how images are drawn again"
