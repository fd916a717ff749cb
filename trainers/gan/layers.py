"""Layers of PGGAN (Karras et al. 2018, sections 3 and 4): equalised learning rate, fused scaling, pixel norm."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from trainers.gan.convolution import convolve

SLOPE = 0.2
GAIN = math.sqrt(2.0)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU, slope 0.2, in place."""
    return cast("Tensor", _LeakyReLU.apply(x))


class _LeakyReLU(torch.autograd.Function):
    """Knows that its second derivative is zero, where PyTorch's own computes with zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        F.leaky_relu_(x, SLOPE)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return cast("Tensor", _Sloped.apply(gradient, *ctx.saved_tensors))


class _Sloped(torch.autograd.Function):
    """A gradient times the slope of leaky ReLU where it gave `y`."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return torch.ops.aten.leaky_relu_backward(gradient, y, SLOPE, True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return cast("Tensor", _Sloped.apply(gradient, *ctx.saved_tensors)), None


def pixel_norm(x: Tensor) -> Tensor:
    """Scale every pixel's feature vector (dimension 1) to mean square 1; differentiable once."""
    return cast("Tensor", _PixelNorm.apply(x))


class _PixelNorm(torch.autograd.Function):
    """In half as many passes over the features as torch's rms_norm, on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        squares = torch.linalg.vector_norm(x, dim=1, keepdim=True).square()
        scale = (squares / x.shape[1] + 1e-8).rsqrt()
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        along = (gradient * y).mean(dim=1, keepdim=True)
        return torch.addcmul(gradient, y, along, value=-1).mul_(scale)


def resized(images: Tensor, resolution: int) -> Tensor:
    """Area average of square N x C x H x W images down to `resolution` pixels, which must divide their side."""
    factor = images.shape[-1] // resolution
    return images if factor == 1 else F.avg_pool2d(images, factor)


def blurred(x: Tensor) -> Tensor:
    """Features smoothed by [1, 2, 1] / 4 along rows and columns (as StyleGAN does, Karras et al. 2019), zeros outside.

    Two averages over 2x2 windows are this filter, and torch has fast code for them.
    """
    return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1, padding=1), 2, stride=1)


class Equalised(nn.Module):
    """Weights drawn from N(0, 1) and scaled at run time by He's constant, so that Adam treats all layers alike."""

    def __init__(self, shape: tuple[int, ...], gain: float, generator: torch.Generator) -> None:
        super().__init__()
        weight = torch.randn(shape, generator=generator)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else weight)
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

    def __init__(
        self, inputs: int, outputs: int, generator: torch.Generator, kernel: int = 3, gain: float = GAIN
    ) -> None:
        super().__init__((outputs, inputs, kernel, kernel), gain, generator)

    def forward(self, x: Tensor) -> Tensor:
        padding = self.weight.shape[-1] // 2
        return convolve(x, _laid_out(self.weight * self.scale, x), self.bias.to(x.dtype), padding=padding)


class UpscaleConvolution(Convolution):
    """Nearest-neighbour doubling and a 3x3 convolution in one 4x4 transposed convolution of stride 2.

    Equal to the two operations one after the other, at 4/9 of the multiplications.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _upscaled(x, self.weight, self.bias, self.scale)


class ConditionedUpscaleConvolution(UpscaleConvolution):
    """Upscales features concatenated with `repeats` copies of a one-channel condition.

    Neither the copies nor the concatenation are made: a convolution of equal channels is the convolution of one with
    the sum of the weights, and that of concatenated channels is a sum of convolutions, whose channel counts stay even.
    """

    def __init__(self, features: int, repeats: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__(features + repeats, outputs, generator)
        self.features = features

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        of_features, of_condition = self.weight.tensor_split([self.features], dim=1)
        of_condition = of_condition.sum(dim=1, keepdim=True)
        features = _upscaled(x, of_features, self.bias, self.scale)
        return features + _upscaled(condition.to(x.dtype), of_condition, None, self.scale)


class DownscaleConvolution(Convolution):
    """A 3x3 convolution and a 2x2 average in one 4x4 convolution of stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = _widened(self.weight, self.scale / 4)
        return convolve(x, _laid_out(kernel, x), self.bias.to(x.dtype), stride=2, padding=1)


def _upscaled(x: Tensor, weight: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    kernel = _laid_out(_widened(weight, scale).flip(2, 3).transpose(0, 1), x)
    return convolve(x, kernel, None if bias is None else bias.to(x.dtype), stride=2, padding=1, transposed=True)


def _laid_out(kernel: Tensor, like: Tensor) -> Tensor:
    """In the number format of the features, channels last: convolutions then keep this layout throughout."""
    return kernel.to(like.dtype).contiguous(memory_format=torch.channels_last)


def _widened(kernel: Tensor, scale: float) -> Tensor:
    """`scale` x 3x3 kernels -> 4x4 kernels: the sum of the kernel at its four positions on a 2x2 cell."""
    return (_cells(scale, kernel.device) @ kernel.movedim(1, -1).flatten(1, 2)).unflatten(1, (4, 4)).movedim(-1, 1)


@cache
def _cells(scale: float, device: torch.device) -> Tensor:
    """16 x 9: which positions of a 3x3 kernel each one of the 4x4 kernel sums."""
    shifts = torch.eye(3, 4) + torch.eye(3, 4).roll(1, dims=1)
    return (torch.kron(shifts, shifts).t() * scale).to(device)


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
