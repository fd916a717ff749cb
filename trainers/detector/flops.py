"""Floating point operations (FLOPs) of a detector, counted on its network."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import torch
from torch import nn

from trainers.detector.config import DetectorConfig
from trainers.detector.model import build_model
from trainers.flops import count_flops

TRAINING = 3
"""Forward and backward passes of a training step, in forward passes."""


def training_flops(config: DetectorConfig, train: float, validation: float, synthetic: int) -> float:
    """Of training on `train` real and `synthetic` slices, and of all validations on `validation` slices."""
    shown = config.steps * config.batch if config.epochs is None else config.epochs * (train + synthetic)
    validations = (1 - config.select_from) * shown / config.batch / config.evaluate_every
    training = shown * TRAINING * forward_flops(config, config.train_size)
    return training + validations * validation * forward_flops(config, config.validation_size)


def forward_flops(config: DetectorConfig, side: int) -> float:
    """Of detecting on one slice of `side` x `side` pixels."""
    return _forward(_shape(config), side)


def parameters(config: DetectorConfig) -> int:
    """Numbers that the network learns."""
    return sum(parameter.numel() for parameter in _network(_shape(config)).parameters())


def _shape(config: DetectorConfig) -> str:
    """What decides the network, as JSON."""
    return config.model_dump_json(include={"model", "width", "depth", "box_bins"})


@lru_cache(maxsize=256)
def _forward(shape: str, side: int) -> float:
    network = _network(shape)
    with torch.no_grad(), torch.device("meta"):
        return count_flops(lambda: network(torch.zeros(1, 1, side, side)))


@lru_cache(maxsize=64)
def _network(shape: str) -> nn.Module:
    """Without values, on torch's device `meta`."""
    network = build_model(DetectorConfig.model_validate_json(shape)).eval()
    head: Any = cast("Any", network.model)[-1]
    strides = getattr(head, "stride", None)
    network.to("meta")
    head.stride = strides  # which the library moves along, and reads
    return network
