"""CPGGAN: a progressively growing GAN conditioned on an image of boxes (paper section 2.2, figure 3)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.gan.config import SMALLEST, GANConfig
from trainers.gan.layers import (
    GAIN,
    ConditionedUpscaleConvolution,
    Convolution,
    Dense,
    DownscaleConvolution,
    MinibatchStddev,
    activate,
    blurred,
    pixel_norm,
)
from trainers.gan.schedule import Phase

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


class Generator(nn.Module, ABC):
    """Noise and conditions in, images out."""

    latent_shape: tuple[int, ...]
    """Shape of one image's noise, which is standard normal."""

    @abstractmethod
    def forward(self, latents: Tensor, condition: Tensor, phase: Phase) -> Tensor:
        """Make images.

        Args:
            latents: N x `latent_shape` float.
            condition: N x 1 x R x R float, 0 (black) to 1 (white), R = `phase.resolution`.
            phase: decides resolution and fade.

        Returns:
            N x 1 x R x R float, about -1 (black) to 1 (white); the output is linear and may exceed this.
        """


class Discriminator(nn.Module, ABC):
    """Scores how real images are."""

    @abstractmethod
    def forward(self, images: Tensor, condition: Tensor, phase: Phase) -> Tensor:
        """Score images: N x 1 x R x R and their conditions (as for the generator) -> N, larger is more real."""


class CPGGANGenerator(Generator):
    """The 4x4 block sees noise only; each later block sees its input's resolution of the conditioning image as well."""

    def __init__(self, config: GANConfig, generator: torch.Generator) -> None:
        super().__init__()
        widths = _widths(config)
        self.latent_shape = (config.latent_size,)
        self.blurs = config.blur
        self.dtype = DTYPES[config.precision]
        self.dense = Dense(config.latent_size, widths[0] * SMALLEST**2, generator, gain=GAIN / 4)
        self.convolution = Convolution(widths[0], widths[0], generator)
        self.upscale = nn.ModuleList(
            ConditionedUpscaleConvolution(a, 1 if config.condition_channels == "1" else a, b, generator)
            for a, b in pairwise(widths)
        )
        self.refine = nn.ModuleList(Convolution(width, width, generator) for width in widths[1:])
        self.to_image = nn.ModuleList(Convolution(width, 1, generator, kernel=1, gain=1.0) for width in widths)

    def forward(self, latents: Tensor, condition: Tensor, phase: Phase) -> Tensor:
        top = _level(phase.resolution)
        x = activate(self.dense(pixel_norm(latents))).view(len(latents), -1, SMALLEST, SMALLEST)
        x = x.to(self.dtype, memory_format=torch.channels_last)
        x = pixel_norm(activate(self.convolution(pixel_norm(x))))
        conditions = [condition]
        for _ in range(top):
            conditions.append(F.avg_pool2d(conditions[-1], 2))
        before = x
        for level in range(top):
            before = x
            x = self.upscale[level](x, conditions[top - level])
            x = pixel_norm(activate(blurred(x) if self.blurs else x))
            x = pixel_norm(activate(self.refine[level](x)))
        image = self.to_image[top](x).float()
        if not phase.fades:
            return image
        coarse = F.interpolate(self.to_image[top - 1](before).float(), scale_factor=2, mode="nearest")
        return phase.blend(coarse, image)


class CPGGANDiscriminator(Discriminator):
    """Mirror of the generator; the conditioning image is concatenated with the image, in both branches of a fade."""

    def __init__(self, config: GANConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.dtype = DTYPES[config.precision]
        widths = _widths(config)
        self.from_image = nn.ModuleList(Convolution(2, width, generator, kernel=1) for width in widths)
        self.refine = nn.ModuleList(Convolution(width, width, generator) for width in widths[1:])
        self.downscale = nn.ModuleList(DownscaleConvolution(b, a, generator) for a, b in pairwise(widths))
        self.stddev = MinibatchStddev(config.group)
        self.convolution = Convolution(widths[0] + 1, widths[0], generator)
        self.dense = Dense(widths[0] * SMALLEST**2, widths[0], generator)
        self.score = Dense(widths[0], 1, generator, gain=1.0)

    def forward(self, images: Tensor, condition: Tensor, phase: Phase) -> Tensor:
        top = _level(phase.resolution)
        pair = torch.cat([images, condition], dim=1).to(self.dtype, memory_format=torch.channels_last)
        x = activate(self.from_image[top](pair))
        for level in reversed(range(top)):
            x = activate(self.refine[level](x))
            x = activate(self.downscale[level](x))
            if level == top - 1 and phase.fades:
                coarse = activate(self.from_image[level](F.avg_pool2d(pair, 2)))
                x = phase.blend(coarse, x)
        x = activate(self.convolution(self.stddev(x.float())))
        x = activate(self.dense(x.flatten(1)))
        return self.score(x).squeeze(1)


def _widths(config: GANConfig) -> list[int]:
    return [config.scaled(width) for width in config.widths[: _level(config.resolution) + 1]]


def _level(resolution: int) -> int:
    return int(math.log2(resolution // SMALLEST))
