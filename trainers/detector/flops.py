"""Floating point operations (FLOPs) of a detector, counted on its network."""

from __future__ import annotations

from functools import lru_cache

import torch

from trainers.detector.config import DetectorConfig
from trainers.detector.model import build_model
from trainers.flops import count_flops

TRAINING = 3
"""Forward and backward passes of a training step, in forward passes."""
SMALL = 64
"""Side in pixels at which FLOPs are counted: every layer is a convolution, so they grow with the area."""


def training_flops(config: DetectorConfig, train: float, validation: float, synthetic: int) -> float:
    """Of training on `train` real and `synthetic` slices, and of all validations on `validation` slices."""
    shown = config.steps * config.batch if config.epochs is None else config.epochs * (train + synthetic)
    validations = (1 - config.select_from) * shown / config.batch / config.evaluate_every
    training = shown * TRAINING * forward_flops(config, config.train_size)
    return training + validations * validation * forward_flops(config, config.validation_size)


def forward_flops(config: DetectorConfig, side: int) -> float:
    """Of detecting on one slice of `side` x `side` pixels."""
    return _small_forward(config.width, config.depth, config.box_bins) * (side / SMALL) ** 2


@lru_cache(maxsize=64)
def _small_forward(width: float, depth: float, box_bins: int) -> float:
    model = build_model(DetectorConfig(width=width, depth=depth, box_bins=box_bins)).eval()
    with torch.no_grad():
        return count_flops(lambda: model(torch.zeros(1, 1, SMALL, SMALL)))
