"""Convolution whose second derivatives are convolutions of the usual kind.

The gradient penalty differentiates twice. PyTorch's own double backward computes the weights' part as a convolution
with a kernel as large as the image, up to six times slower than the weight gradient it equals. Karras et al. (2020b)
found the same on GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor


class _Geometry(NamedTuple):
    stride: int
    padding: int
    transposed: bool

    @property
    def adjoint(self) -> _Geometry:
        return self._replace(transposed=not self.transposed)


_skip_weights = False


@contextmanager
def image_gradients_only() -> Iterator[None]:
    """Within it, gradients that are themselves differentiable skip the weights.

    `torch.autograd.grad` with respect to an image cannot say so to a Python function, which would compute them all.
    """
    global _skip_weights
    before, _skip_weights = _skip_weights, True
    try:
        yield
    finally:
        _skip_weights = before


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0, transposed: bool = False
) -> Tensor:
    """`torch.nn.functional.conv2d`, or `conv_transpose2d`, with the same layout of weights; differentiable twice."""
    return cast("Tensor", _Convolution.apply(x, weight, bias, _Geometry(stride, padding, transposed)))


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, to: _Geometry) -> Tensor:
    return torch.ops.aten.convolution(
        x, weight, bias, [to.stride] * 2, [to.padding] * 2, [1, 1], to.transposed, [0, 0], 1
    )


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, biases: list[int] | None, to: _Geometry, wanted: list[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, biases, [to.stride] * 2, [to.padding] * 2, [1, 1], to.transposed, [0, 0], 1, wanted
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, to: _Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.to = to
        return _forward(x, weight, bias, to)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        if not torch.is_grad_enabled():
            biases = [gradient.shape[1]] if of_bias else None
            return (*_backward(gradient, x, weight, biases, ctx.to, [of_x, of_weight, of_bias]), None)
        of_weight, of_bias = of_weight and not _skip_weights, of_bias and not _skip_weights
        return (
            _Convolution.apply(gradient, weight, None, ctx.to.adjoint) if of_x else None,
            _WeightGradient.apply(gradient, x, weight.shape, ctx.to) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
        )


class _WeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, shape: torch.Size, to: _Geometry) -> Tensor:
        ctx.save_for_backward(gradient, x)
        ctx.to = to
        weight = x.new_empty(1).expand(shape)  # only its shape is read
        return cast("Tensor", _backward(gradient, x, weight, None, to, [False, True, False])[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_output, x = ctx.saved_tensors
        return (
            _Convolution.apply(x, gradient, None, ctx.to) if ctx.needs_input_grad[0] else None,
            _Convolution.apply(of_output, gradient, None, ctx.to.adjoint) if ctx.needs_input_grad[1] else None,
            None,
            None,
        )
