from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.gan.tiny_runs import SIZE, Interruptible, KilledError, tiny
from tests.trainers.gan.tiny_shards import CONFIG, STRICT, changed, shard
from trainers.data.conditions import box_contrast, conditioning_images, visibility
from trainers.data.slice_set import SliceSet
from trainers.exceptions import TrainingError
from trainers.gan import filling
from trainers.gan.checkpoint import build_generator
from trainers.gan.generator import TrainedGenerator, load_generator
from trainers.gan.pictures import interpolate, moving_box
from trainers.gan.review import Review
from trainers.gan.sampling import noise
from trainers.gan.synthesis import _Drawing, synthesize
from trainers.gan.training import train_gan


def same(one: SliceSet, other: SliceSet) -> None:
    np.testing.assert_array_equal(one.images, other.images)
    pd.testing.assert_frame_equal(one.slices, other.slices)
    pd.testing.assert_frame_equal(one.boxes, other.boxes)


@pytest.mark.parametrize("variant", ["cpggan", "image2image"])
def test_shards_hold_the_same_images_whatever_their_size(
    variant: str, gan: Path, faint: SliceSet, tmp_path: Path
) -> None:
    if variant != "cpggan":
        gan = tmp_path
        train_gan(tiny(variant=variant, total_kimg=0.1), faint, gan, Interruptible(tmp_path / "checkpoints"))
    large = shard(gan, faint, changed(STRICT, shard_size=30), 0, tmp_path / "large")
    parts = [shard(gan, faint, STRICT, number, tmp_path / str(number)) for number in range(3)]
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), large.images)
    pd.testing.assert_frame_equal(pd.concat([part.boxes for part in parts], ignore_index=True), large.boxes)
    pd.testing.assert_frame_equal(pd.concat([part.slices for part in parts], ignore_index=True), large.slices)
    assert large.slices["image_index"].tolist() == list(range(30))
    assert len({image.tobytes() for image in large.images}) == 30
    assert large.slices["attempt"].nunique() > 2, "this shard does not test how images are drawn again"
    few = shard(gan, faint, changed(STRICT, shard_size=7), 0, tmp_path / "few")
    np.testing.assert_array_equal(few.images, large.images[:7])


def test_first_attempt_whose_tumours_are_visible_fills_the_slot(gan: Path, faint: SliceSet, tmp_path: Path) -> None:
    config = changed(STRICT, shard_size=40, max_attempts=3)
    curated = shard(gan, faint, config, 0, tmp_path / "curated")
    found = curated.meta["curation"]
    rows = faint.indices("train", "tumour")
    real = visibility(faint.images[rows], [faint.boxes_by_slice()[row] for row in rows])
    assert found["threshold"] == pytest.approx(np.quantile(real, 0.5))
    np.testing.assert_allclose(visibility(curated.images, curated.boxes_by_slice()), curated.slices["visibility"])

    # Every attempt on its own, without curation.
    table, generator = curated.slices, load_generator(gan, torch.device("cpu"))
    scores = np.array([[score_of(generator, faint, image, number) for number in range(3)] for image in range(40)])
    visible = scores >= found["threshold"]
    expected = np.where(visible.any(axis=1), visible.argmax(axis=1), scores.argmax(axis=1))
    assert table["attempt"].tolist() == expected.tolist()
    assert set(expected) == {0, 1, 2}
    assert table["slice_id"].tolist() == [f"synthetic-{i:06d}-{a}" for i, a in enumerate(expected)]
    tries = np.where(visible.any(axis=1), visible.argmax(axis=1) + 1, 3)
    assert found["attempts"] == tries.sum()
    assert found["discard_rate"] == pytest.approx(1 - 40 / tries.sum())
    assert found["unclear"] == (~visible.any(axis=1)).sum() > 0


def drawing(generator: TrainedGenerator, slices: SliceSet) -> _Drawing:
    return _Drawing(generator, [boxes for boxes in slices.boxes_by_slice() if len(boxes)], CONFIG)


def score_of(generator: TrainedGenerator, slices: SliceSet, image: int, number: int) -> float:
    boxes, _ = drawing(generator, slices)._draw(image, number)
    latents = np.zeros((4, *generator.latent_shape), dtype=np.float32)
    latents[0] = noise(CONFIG.seed, image, generator.latent_shape, number)
    conditions = conditioning_images([boxes, *[np.zeros((0, 4))] * 3], SIZE)
    return float(visibility(generator.sample(conditions, latents)[:1], [boxes])[0])


def test_without_curation_the_first_attempt_stays(gan: Path, faint: SliceSet, tmp_path: Path) -> None:
    raw = shard(gan, faint, changed(STRICT, curate=False), 0, tmp_path / "raw")
    assert raw.slices["attempt"].tolist() == [0] * 10
    assert raw.meta["curation"] == {
        "threshold": None, "attempts": 10, "discard_rate": 0, "unclear": 0, "kept_by_review": 0,
        "discarded_by_review": 0,
    }  # fmt: skip
    curated = shard(gan, faint, STRICT, 0, tmp_path / "curated")
    first = (curated.slices["attempt"] == 0).to_numpy()
    assert 0 < first.sum() < 10
    np.testing.assert_array_equal(raw.images[first], curated.images[first])
    assert (raw.images[~first] != curated.images[~first]).any(axis=(1, 2)).all()
    assert curated.slices["visibility"].mean() > raw.slices["visibility"].mean()


def test_every_call_of_the_network_has_the_same_shape(gan: Path, faint: SliceSet) -> None:
    generator, shapes = load_generator(gan, torch.device("cpu")), []
    generator._network.register_forward_hook(lambda *given: shapes.append(len(given[-1])))
    alone = drawing(generator, faint)([(3, 1)], 4)
    among = drawing(generator, faint)([(0, 0), (1, 0), (2, 2), (3, 1)], 4)
    assert shapes == [4, 4]
    assert len(alone) == 1
    np.testing.assert_array_equal(alone[0].pixels, among[3].pixels)
    assert alone[0].visibility == among[3].visibility


def test_noise_and_boxes_of_the_next_call_are_drawn_while_the_network_is_at_one(
    gan: Path, faint: SliceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_generator(gan, torch.device("cpu"))
    draw, known, start = drawing(generator, faint), [], generator.start

    def watched(conditions: np.ndarray, latents: np.ndarray) -> Callable[[], np.ndarray]:
        finish, counts = start(conditions, latents), draw._drawn.cache_info
        known.append(counts().misses)

        def finished() -> np.ndarray:
            known.append(counts().misses)
            return finish()

        return finished

    monkeypatch.setattr(generator, "start", watched)
    draw([(0, 0), (1, 0), (2, 0), (3, 0)], 4)
    draw([(1, 1), (4, 0), (5, 0), (6, 0)], 4)
    assert known == [4, 8, 9, 12]


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True)])
def test_a_gpu_draws_in_the_precision_that_the_gan_was_trained_in(precision: str, allowed: bool) -> None:
    config, found = tiny(precision=precision), []
    generator = TrainedGenerator(config, build_generator(config), torch.device("cpu"))
    generator._network.register_forward_hook(lambda *_: found.append(torch.backends.cudnn.allow_tf32))
    generator.sample(np.zeros((4, SIZE, SIZE), np.uint8), np.zeros((4, *generator.latent_shape), np.float32))
    assert found == [allowed]


def test_another_seed_makes_other_images(gan: Path, slices: SliceSet, tmp_path: Path) -> None:
    one = shard(gan, slices, CONFIG, 0, tmp_path / "one")
    other = shard(gan, slices, changed(CONFIG, seed=8), 0, tmp_path / "other")
    assert (one.images != other.images).any()
    assert not one.boxes.equals(other.boxes)
    assert one.meta["source"] != other.meta["source"]


@pytest.mark.parametrize("kill_after", [1, 4])
def test_killed_shard_continues_to_the_same_result(
    kill_after: int, gan: Path, faint: SliceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(STRICT, shard_size=25)
    uninterrupted = Interruptible(tmp_path / "none")
    whole = shard(gan, faint, config, 0, tmp_path / "whole", uninterrupted)
    monkeypatch.setattr(filling, "CHECKPOINT_SECONDS", 0.0)
    checkpoints = tmp_path / "checkpoints"
    with pytest.raises(KilledError):
        shard(gan, faint, config, 0, tmp_path / "stopped", Interruptible(checkpoints, kill_after))
    assert not (tmp_path / "stopped").exists()
    context = Interruptible(checkpoints)
    continued = shard(gan, faint, config, 0, tmp_path / "continued", context)
    assert len(context.reports) == len(uninterrupted.reports) - kill_after, "work before the kill was done again"
    same(continued, whole)
    assert continued.meta == whole.meta
    for name in os.listdir(tmp_path / "whole" / "figures"):
        files = [tmp_path / run / "figures" / name for run in ("whole", "continued")]
        assert files[0].read_bytes() == files[1].read_bytes(), name


def test_conditioned_boxes_are_brighter_than_the_same_places_without(
    gan: Path, slices: SliceSet, tmp_path: Path
) -> None:
    made = shard(gan, slices, changed(CONFIG, shard_size=64, vertical_flip=False, curate=False), 0, tmp_path / "out")
    boxes = made.boxes_by_slice()
    generator = load_generator(gan, torch.device("cpu"))
    latents = np.stack([noise(CONFIG.seed, index, generator.latent_shape) for index in range(64)])
    np.testing.assert_allclose(
        generator.sample(conditioning_images(boxes, SIZE), latents).astype(int), made.images.astype(int), atol=1
    )
    black = generator.sample(np.zeros((64, SIZE, SIZE), dtype=np.uint8), latents)
    conditioned, without = box_contrast(made.images, boxes).mean(), box_contrast(black, boxes).mean()
    assert conditioned > without + 20
    assert made.meta["box_contrast"] == pytest.approx(conditioned, abs=1e-3)
    assert made.meta["box_contrast_real"] > 50


def test_pictures(gan: Path, faint: SliceSet, tmp_path: Path) -> None:
    shard(gan, faint, STRICT, 0, tmp_path / "first")
    pictures = {path.name: path.stat().st_size for path in (tmp_path / "first" / "figures").iterdir()}
    assert set(pictures) == {"samples.png", "interpolation.png", "moving_box.png", "discarded.png"}
    assert min(pictures.values()) > 2000
    shard(gan, faint, STRICT, 1, tmp_path / "second")
    assert os.listdir(tmp_path / "second" / "figures") == ["samples.png"]
    shard(gan, faint, changed(STRICT, curate=False), 0, tmp_path / "raw")
    assert not (tmp_path / "raw" / "figures" / "discarded.png").exists()


def test_interpolation_goes_along_the_great_circle() -> None:
    first, last = np.array([3.0, 0.0], dtype=np.float32), np.array([0.0, 3.0], dtype=np.float32)
    angles = np.linspace(0, np.pi / 2, 5)
    np.testing.assert_allclose(
        interpolate(first, last, 5), 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-6
    )
    image_noise = [noise(0, index, (1, 8, 8)) for index in range(2)]
    walk = interpolate(image_noise[0], image_noise[1], 8)
    assert walk.shape == (8, 1, 8, 8)
    np.testing.assert_allclose(walk[[0, -1]], image_noise, atol=1e-6)


def test_moving_box_crosses_where_boxes_were_annotated() -> None:
    annotations = [np.array([[x, 30.0, x + 4, 36.0]]) for x in range(10, 50, 4)]
    none, *boxes = moving_box(annotations, 64)
    assert len(none) == 0
    assert all(box.shape == (1, 4) for box in boxes)
    path = np.concatenate(boxes)
    assert ((path[:, 2:] - path[:, :2]) == [4, 6]).all()
    assert (np.diff(path[:, 0]) > 0).all()
    assert path[:, 1].tolist() == [30] * 7
    assert 12 <= path[0, 0] < path[-1, 0] <= 45


def test_refusals(gan: Path, slices: SliceSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is not a trained GAN"):
        load_generator(tmp_path, torch.device("cpu"))
    generator = load_generator(gan, torch.device("cpu"))
    with pytest.raises(TrainingError, match=r"allowed: \(16, 16\)"):
        generator.sample(np.zeros((1, 8, 8), dtype=np.uint8), noise(0, 0, (1, *generator.latent_shape)))
    without = SliceSet(slices.path, slices.images, slices.slices, slices.boxes.iloc[:0], {})
    with pytest.raises(TrainingError, match="no slice of the training split has a box"):
        synthesize(gan, without, CONFIG, 0, Review(), tmp_path / "out", Interruptible(tmp_path / "checkpoints"))
    assert not (tmp_path / "out").exists()
