from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.made_once import made_once
from tests.trainers.gan.tiny_runs import Interruptible, make_slices, tiny
from trainers.data.conditions import box_contrast
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.gan.config import SynthesisConfig
from trainers.gan.review import Review
from trainers.gan.source import SOURCE_FILE
from trainers.gan.synthesis import synthesize
from trainers.gan.training import train_gan


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    """24 tumour and 8 normal training slices."""
    return make_slices(tmp_path_factory.mktemp("slices"))


@pytest.fixture(scope="session")
def gan(slices: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CPGGAN that has learnt to draw something bright at its boxes."""
    config = tiny(initial_resolution=8, total_kimg=2.0, fade_kimg=0.1, stable_kimg=0.4, learning_rate=4e-3, ema=0.95)

    def train(out: Path) -> None:
        train_gan(config, slices, out, Interruptible(out / "checkpoints"))
        (out / SOURCE_FILE).unlink()  # tests draw from it with other grey levels, too (`faint`)

    return made_once(tmp_path_factory, "gan-of-discs", train)


@pytest.fixture(scope="session")
def faint(slices: SliceSet, gan: Path, tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    """The slices that `gan` was trained on, their tumours made about as faint as in what it makes."""
    out = tmp_path_factory.mktemp("raw")
    config = SynthesisConfig(shard_size=32, curate=False)
    synthesize(gan, slices, config, 0, Review(), out, Interruptible(out / "checkpoints"))
    made = open_slice_set(out)
    typical = float(np.median(box_contrast(made.images, made.boxes_by_slice())))
    images, tumours = np.array(slices.images), slices.indices("train", "tumour")
    for row, contrast in zip(tumours, typical * np.linspace(0.3, 1.7, len(tumours)), strict=True):
        image = images[row]
        image[image == 230] = min(255, int(image[image < 230].max()) + round(contrast))
    return SliceSet(slices.path, images, slices.slices, slices.boxes, {})
