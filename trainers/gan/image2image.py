"""The image-to-image GAN: a U-Net from noise and boxes to a slice, trained at full resolution from the start.

Paper section 2.2: 4 convolutional and 4 deconvolutional layers in the generator, 3 layers in the discriminator. It has
CPGGAN's layers (equalised learning rate, pixel norm, linear output) and loss, so that the arms differ in what the paper
contrasts: progressive growing against none.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from trainers.gan.config import GANConfig
from trainers.gan.layers import Convolution, Dense, DownscaleConvolution, UpscaleConvolution, activate, pixel_norm
from trainers.gan.networks import DTYPES, Discriminator, Generator
from trainers.gan.schedule import Phase


class UNetGenerator(Generator):
    """Each encoder layer halves the resolution; each decoder layer doubles it and takes the encoder's features.

    The first skip is the input itself: one channel of noise and the conditioning image.
    """

    def __init__(self, config: GANConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.latent_shape = (1, config.resolution, config.resolution)
        self.dtype = DTYPES[config.precision]
        widths = [2, *(config.scaled(width) for width in config.unet_widths)]
        self.encoder = nn.ModuleList(DownscaleConvolution(a, b, generator) for a, b in pairwise(widths))
        outputs = [widths[1], *widths[1:-1]]
        inputs = [a + skip for a, skip in zip(outputs[1:], widths[1:-1], strict=True)] + [widths[-1]]
        self.decoder = nn.ModuleList(UpscaleConvolution(a, b, generator) for a, b in zip(inputs, outputs, strict=True))
        self.to_image = Convolution(outputs[0] + 2, 1, generator, gain=1.0)

    def forward(self, latents: Tensor, condition: Tensor, phase: Phase) -> Tensor:
        x = torch.cat([latents, condition], dim=1).to(self.dtype, memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for layer in self.encoder:
            skips.append(x)
            x = pixel_norm(activate(layer(x)))
        for layer, skip in zip(reversed(self.decoder), reversed(skips), strict=True):
            x = torch.cat([pixel_norm(activate(layer(x))), skip], dim=1)
        return self.to_image(x).float()


class ConvolutionalDiscriminator(Discriminator):
    """Three convolutions of stride 2 and a linear score; no normalisation, which would couple the samples."""

    def __init__(self, config: GANConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.dtype = DTYPES[config.precision]
        widths = [2, *(config.scaled(width) for width in config.critic_widths)]
        self.layers = nn.ModuleList(DownscaleConvolution(a, b, generator) for a, b in pairwise(widths))
        self.score = Dense(widths[-1] * (config.resolution // 8) ** 2, 1, generator, gain=1.0)

    def forward(self, images: Tensor, condition: Tensor, phase: Phase) -> Tensor:
        x = torch.cat([images, condition], dim=1).to(self.dtype, memory_format=torch.channels_last)
        for layer in self.layers:
            x = activate(layer(x))
        return self.score(x.float().flatten(1)).squeeze(1)
