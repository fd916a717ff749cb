"""Layers of PGGAN (Karras et al. 2018, sections 3 and 4): equalised learning rate, fused scaling, pixel norm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
GAIN = math.sqrt(2.0)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU, slope 0.2."""
    return F.leaky_relu(x, SLOPE)


def pixel_norm(x: Tensor) -> Tensor:
    """Scale every pixel's feature vector (dimension 1) to mean square 1."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


def resized(images: Tensor, resolution: int) -> Tensor:
    """Area average of square N x C x H x W images down to `resolution` pixels, which must divide their side."""
    factor = images.shape[-1] // resolution
    return images if factor == 1 else F.avg_pool2d(images, factor)


class Equalised(nn.Module):
    """Weights drawn from N(0, 1) and scaled at run time by He's constant, so that Adam treats all layers alike."""

    def __init__(self, shape: tuple[int, ...], gain: float, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape, generator=generator))
        self.bias = nn.Parameter(torch.zeros(shape[0]))
        self.scale = gain / math.sqrt(math.prod(shape[1:]))


class Dense(Equalised):
    """Fully connected layer: N x inputs -> N x outputs."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator, gain: float = GAIN) -> None:
        super().__init__((outputs, inputs), gain, generator)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class Convolution(Equalised):
    """Convolution that keeps the resolution (odd kernels)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, generator: torch.Generator, gain: float = GAIN) -> None:
        super().__init__((outputs, inputs, kernel, kernel), gain, generator)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[-1] // 2)


class UpscaleConvolution(Convolution):
    """Nearest-neighbour doubling and a 3x3 convolution in one 4x4 transposed convolution of stride 2.

    Equal to the two operations one after the other, at 4/9 of the multiplications.
    """

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__(inputs, outputs, 3, generator)

    def forward(self, x: Tensor) -> Tensor:
        return self._upscaled(x, self.weight)

    def _upscaled(self, x: Tensor, weight: Tensor) -> Tensor:
        kernel = _widened(weight * self.scale).flip(2, 3).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class ConditionedUpscaleConvolution(UpscaleConvolution):
    """Upscales features concatenated with `repeats` copies of a one-channel condition.

    The copies are never made: a convolution of equal channels is the convolution of one with the sum of the weights.
    """

    def __init__(self, features: int, repeats: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__(features + repeats, outputs, generator)
        self.features = features

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        of_features, of_condition = self.weight[:, : self.features], self.weight[:, self.features :]
        weight = torch.cat([of_features, of_condition.sum(dim=1, keepdim=True)], dim=1)
        return self._upscaled(torch.cat([x, condition], dim=1), weight)


class DownscaleConvolution(Convolution):
    """A 3x3 convolution and a 2x2 average in one 4x4 convolution of stride 2."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__(inputs, outputs, 3, generator)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, _widened(self.weight * (self.scale / 4)), self.bias, stride=2, padding=1)


def _widened(kernel: Tensor) -> Tensor:
    """3x3 kernels -> 4x4 kernels: the sum of the kernel at its four positions on a 2x2 cell."""
    padded = F.pad(kernel, (1, 1, 1, 1))
    return padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]


class MinibatchStddev(nn.Module):
    """Appends one channel: the features' standard deviation over a group of images, averaged over all features.

    Groups are runs of neighbours in the batch; a group of one image has standard deviation 0.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        count, _, height, width = x.shape
        if self.group == 1:
            return torch.cat([x, x.new_zeros(count, 1, height, width)], dim=1)
        groups = x.reshape(count // self.group, self.group, -1)
        deviation = (groups.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=1)
        channel = deviation.repeat_interleave(self.group).view(count, 1, 1, 1).expand(count, 1, height, width)
        return torch.cat([x, channel], dim=1)


def stddev_group(batch: int) -> int:
    """The largest group of at most 4 images that divides a batch."""
    return max(group for group in range(1, 5) if batch % group == 0)
