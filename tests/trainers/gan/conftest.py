from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainers.gan.tiny_runs import Interruptible, make_slices, tiny
from trainers.data.slice_set import SliceSet
from trainers.gan.training import train_gan


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    """24 tumour and 8 normal training slices."""
    return make_slices(tmp_path_factory.mktemp("slices"))


@pytest.fixture(scope="session")
def gan(slices: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CPGGAN that has learnt to draw something bright at its boxes."""
    out = tmp_path_factory.mktemp("gan")
    config = tiny(initial_resolution=8, total_kimg=2.0, fade_kimg=0.1, stable_kimg=0.4, learning_rate=4e-3, ema=0.95)
    train_gan(config, slices, out, Interruptible(out / "checkpoints"))
    return out


@pytest.fixture(scope="session")
def faint(slices: SliceSet) -> SliceSet:
    """The slices that `gan` was trained on, their tumours made about as faint as in what it makes."""
    images, tumours = np.array(slices.images), slices.indices("train", "tumour")
    for row, contrast in zip(tumours, np.linspace(8, 48, len(tumours)), strict=True):
        image = images[row]
        image[image == 230] = image[image < 230].max() + contrast
    return SliceSet(slices.path, images, slices.slices, slices.boxes, {})
