from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.gan.tiny_runs import SIZE, Interruptible, tiny
from trainers.data.conditions import box_contrast, conditioning_images
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.exceptions import TrainingError
from trainers.gan.sampling import noise
from trainers.gan.synthesis import SynthesisConfig, load_generator, synthesize
from trainers.gan.training import train_gan

CONFIG = SynthesisConfig(shard_size=10, batch_size=4, seed=7)


@pytest.fixture(scope="module")
def gan(slices: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gan")
    config = tiny(initial_resolution=8, total_kimg=2.0, fade_kimg=0.1, stable_kimg=0.4, learning_rate=4e-3, ema=0.95)
    train_gan(config, slices, out, Interruptible(out / "checkpoints"))
    return out


def shard(gan: Path, slices: SliceSet, config: SynthesisConfig, number: int, out: Path) -> SliceSet:
    done: list[int] = []
    synthesize(gan, slices, config, number, out, lambda images, total, _: done.append(images * 1000 + total))
    assert done[-1] == config.shard_size * 1001
    return open_slice_set(out)


def test_shards_hold_the_same_images_whatever_their_size(gan: Path, slices: SliceSet, tmp_path: Path) -> None:
    large = shard(gan, slices, CONFIG.model_copy(update={"shard_size": 30}), 0, tmp_path / "large")
    small = [shard(gan, slices, CONFIG, number, tmp_path / str(number)) for number in (2, 0, 1)]
    parts = [small[1], small[2], small[0]]
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), large.images)
    pd.testing.assert_frame_equal(pd.concat([part.boxes for part in parts], ignore_index=True), large.boxes)
    pd.testing.assert_frame_equal(pd.concat([part.slices for part in parts], ignore_index=True), large.slices)
    assert large.slices["image_index"].tolist() == list(range(30))
    assert large.slices["slice_id"].iloc[29] == "synthetic-000029"
    assert len({image.tobytes() for image in large.images}) == 30


def test_another_seed_makes_other_images(gan: Path, slices: SliceSet, tmp_path: Path) -> None:
    one = shard(gan, slices, CONFIG, 0, tmp_path / "one")
    other = shard(gan, slices, CONFIG.model_copy(update={"seed": 8}), 0, tmp_path / "other")
    assert (one.images != other.images).any()
    assert not one.boxes.equals(other.boxes)


def test_conditioned_boxes_are_brighter_than_the_same_places_without(
    gan: Path, slices: SliceSet, tmp_path: Path
) -> None:
    made = shard(gan, slices, CONFIG.model_copy(update={"shard_size": 64, "vertical_flip": False}), 0, tmp_path / "out")
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
    assert (tmp_path / "out" / "figures" / "samples.png").stat().st_size > 5000


def test_refusals(gan: Path, slices: SliceSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no trained GAN"):
        load_generator(tmp_path, torch.device("cpu"))
    generator = load_generator(gan, torch.device("cpu"))
    with pytest.raises(TrainingError, match=r"allowed: \(16, 16\)"):
        generator.sample(np.zeros((1, 8, 8), dtype=np.uint8), noise(0, 0, (1, *generator.latent_shape)))
    without = SliceSet(slices.path, slices.images, slices.slices, slices.boxes.iloc[:0], {})
    with pytest.raises(TrainingError, match="no slice of the training split has a box"):
        synthesize(gan, without, CONFIG, 0, tmp_path / "out", lambda *_: None)
    assert not (tmp_path / "out").exists()
