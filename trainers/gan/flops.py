"""Floating point operations (FLOPs) of a GAN, counted on its networks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

import torch

from trainers.flops import count_flops
from trainers.gan.checkpoint import TrainingState
from trainers.gan.config import SMALLEST, GANConfig
from trainers.gan.losses import penalty
from trainers.gan.schedule import Phase

SHAPE = {
    "variant", "resolution", "initial_resolution", "widths", "unet_widths", "critic_widths", "width", "min_width",
    "latent_size", "condition_channels", "batch_size", "stddev_group", "loss",
}  # fmt: skip
"""Fields of a GAN that decide what a step computes, and what the penalty does."""


def training_flops(config: GANConfig) -> float:
    """Of a whole training run, at every resolution of its schedule (without fades and augmentation)."""
    return sum(images * _training(config, resolution) for resolution, images in _schedule(config).items())


@dataclass(frozen=True)
class Updates:
    """The updates of a run at one resolution."""

    number: float
    flops: float
    """Of one of them."""
    layers: int
    """Convolutions of both networks that take part: what the host launches grows with them."""


def updates_of_run(config: GANConfig) -> list[Updates]:
    """A run's updates, resolution by resolution."""
    batch = config.batch_size
    return [
        Updates(images / batch, batch * _training(config, side), _layers(config, side))
        for side, images in _schedule(config).items()
    ]


def _layers(config: GANConfig, resolution: int) -> int:
    """U-Net: 4 down, 4 up, 1 to the image, 4 of the discriminator. CPGGAN: 2 a resolution in each network."""
    return 4 * (resolution // SMALLEST).bit_length() if config.traits.grows else 13


def drawing_flops(config: GANConfig) -> float:
    """Of drawing one image."""
    return _per_image(_shape(config), config.resolution).drawing


def _schedule(config: GANConfig) -> dict[int, float]:
    """Resolution -> images shown at it."""
    *earlier, last = config.resolutions()
    shown = {side: 1000 * (config.fade_length(side) + config.stable_length(side)) for side in earlier}
    return {**shown, last: config.total_images - sum(shown.values())}


def _training(config: GANConfig, resolution: int) -> float:
    each = _per_image(_shape(config), resolution)
    return each.step + each.penalty / config.penalty_interval


@dataclass(frozen=True)
class _PerImage:
    step: float
    penalty: float
    drawing: float


def _shape(config: GANConfig) -> str:
    return config.model_dump_json(include=SHAPE)


@lru_cache(maxsize=4)
def _on_meta(shape: str) -> TrainingState:
    """The networks on torch's `meta` device, which computes nothing."""
    shortest = {"total_kimg": 1.0, "fade_kimg": 0.0, "stable_kimg": 0.0}
    return TrainingState.initial(GANConfig.model_validate({**json.loads(shape), **shortest}), torch.device("meta"))


@lru_cache(maxsize=512)
def _per_image(shape: str, resolution: int) -> _PerImage:
    """Counted over one step of the networks."""
    state, phase = _on_meta(shape), Phase(resolution, 1.0)
    batch = state.config.batch_size
    images = torch.empty(batch, 1, resolution, resolution, device="meta")
    condition, mix = torch.empty_like(images), torch.empty(batch, device="meta")
    latents = torch.empty(batch, *state.generator.latent_shape, device="meta")

    def draw() -> torch.Tensor:
        return state.generator(latents, condition, phase)

    def step() -> None:
        with torch.no_grad():
            fake = draw()
        both = torch.cat([images, fake]), torch.cat([condition, condition])
        state.discriminator(*both, phase).sum().backward()
        state.discriminator.requires_grad_(False)
        state.discriminator(draw(), condition, phase).sum().backward()
        state.discriminator.requires_grad_(True)

    def regularise() -> None:
        penalty(state.config, state.discriminator, images, images, condition, phase, mix).backward()

    with torch.no_grad():
        drawing = count_flops(draw)
    return _PerImage(count_flops(step) / batch, count_flops(regularise) / batch, drawing / batch)
