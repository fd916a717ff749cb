"""The U-Net and the noise of the diffusion model, both of diffusers; nothing is downloaded.

The model learns the velocity (Salimans and Ho, Progressive distillation, ICLR 2022) at the noise levels of a cosine
schedule that ends in pure noise (Lin et al., Common diffusion noise schedules are flawed, WACV 2024), and draws by DDIM
(Song et al., ICLR 2021), which is deterministic: the first noise decides what is drawn. Noise is in the region to be
drawn alone; the tissue around it is an input of its own.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from trainers.inpainting.config import GROUPS, InpaintConfig

NOISE_LEVELS = 1000
INPUTS = 4
"""Channels that the network sees: the noisy region, the known surroundings, what is drawn, and its contrast."""


def build_network(config: InpaintConfig) -> UNet2DModel:
    """The U-Net on torch's default device, with weights drawn from torch's default generator."""
    levels = len(config.widths)
    return UNet2DModel(
        sample_size=config.window,
        in_channels=INPUTS,
        out_channels=1,
        layers_per_block=config.blocks,
        block_out_channels=config.widths,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        norm_num_groups=GROUPS,
        add_attention=False,
    )


def build_noise() -> DDIMScheduler:
    """The noise levels."""
    return DDIMScheduler(
        num_train_timesteps=NOISE_LEVELS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=True,
    )


_training_noise = cache(build_noise)


def noised(images: Tensor, noise: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Images (N x 1 x W x W) with noise of a level (N int64) each, and the velocities there."""
    levels, of = _training_noise(), cast(Any, level)
    return levels.add_noise(images, noise, of), levels.get_velocity(images, noise, of)


def velocity(network: UNet2DModel, noisy: Tensor, surroundings: Tensor, level: Tensor) -> Tensor:
    """The network's velocity; N x 1 x W x W.

    Args:
        noisy: N x 1 x W x W; only the region to be drawn is seen.
        surroundings: N x 3 x W x W, as `surroundings_of` makes them.
        level: N or scalar int64, 0 to NOISE_LEVELS - 1.
    """
    return cast(Any, network(torch.cat([noisy * surroundings[:, 1:2], surroundings], dim=1), level)).sample


def surroundings_of(images: Tensor, weights: Tensor, contrast: Tensor) -> Tensor:
    """What the network knows of windows.

    Args:
        images: N x 1 x W x W, -1 (black) to 1 (white).
        weights: N x 1 x W x W, above 0 where the window is to be drawn.
        contrast: N x 1 x W x W.

    Returns:
        N x 3 x W x W: the images without the regions to be drawn, these regions as 1, and the contrast.
    """
    region = (weights > 0).to(images.dtype)
    return torch.cat([images * (1 - region), region, contrast], dim=1)


@torch.no_grad()
def draw(network: UNet2DModel, surroundings: Tensor, noise: Tensor, steps: int) -> Tensor:
    """Draw the regions of windows.

    Args:
        surroundings: N x 3 x W x W, as `surroundings_of` makes them.
        noise: N x 1 x W x W, standard normal.
        steps: calls of the network.

    Returns:
        N x 1 x W x W, -1 to 1; without meaning outside the regions.
    """
    levels = build_noise()
    levels.set_timesteps(steps)
    drawn = noise
    for level in levels.timesteps:
        predicted = velocity(network, drawn, surroundings, level.to(noise.device))
        drawn = cast(Any, levels.step(predicted, int(level), drawn)).prev_sample
    return drawn
