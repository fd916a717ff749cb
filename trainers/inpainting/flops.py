"""Floating point operations (FLOPs) of an inpainter, counted on its network."""

from __future__ import annotations

from functools import lru_cache

import torch

from trainers.flops import count_flops
from trainers.inpainting.config import InpaintConfig
from trainers.inpainting.network import INPUTS, build_network

SHAPE = {"window", "widths", "blocks"}
"""Fields that decide what one call of the network computes."""


def training_flops(config: InpaintConfig) -> float:
    """Of a whole training run."""
    return config.total_images * _per_window(_shape(config))[0]


def drawing_flops(config: InpaintConfig) -> float:
    """Of drawing one slice: calls of the network have room for every slice's next lesion, whether it has one or not."""
    return config.most_lesions * config.sampling_steps * _per_window(_shape(config))[1]


def layers(config: InpaintConfig) -> int:
    """Convolutions of the network: two of every residual block, one more in each block of the decoder."""
    levels = len(config.widths)
    return levels * (2 * config.blocks + 3 * (config.blocks + 1)) + 4


def _shape(config: InpaintConfig) -> str:
    return config.model_dump_json(include=SHAPE)


@lru_cache(maxsize=64)
def _per_window(shape: str) -> tuple[float, float]:
    """Of training with one window, and of one call of the network; on torch's `meta` device, which computes nothing."""
    config = InpaintConfig.model_validate_json(shape)
    with torch.device("meta"):
        network = build_network(config)
        inputs, level = torch.empty(1, INPUTS, config.window, config.window), torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        drawing = count_flops(lambda: network(inputs, level))
    return count_flops(lambda: network(inputs, level).sample.sum().backward()), drawing
