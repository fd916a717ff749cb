from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.gan.convolution import convolve, image_gradients_only
from trainers.gan.layers import activate, pixel_norm

GEOMETRIES = [(3, 1, 1), (4, 2, 1), (1, 1, 0)]


def example(transposed: bool, kernel: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    channels = (3, 5) if transposed else (5, 3)
    shapes = ((2, 3, 6, 6), (*channels, kernel, kernel), (5,))
    x, weight, bias = (torch.randn(shape, generator=random, dtype=torch.double) for shape in shapes)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), GEOMETRIES)
def test_convolution_and_both_its_derivatives(transposed: bool, kernel: int, stride: int, padding: int) -> None:
    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolve(x, weight, bias, stride=stride, padding=padding, transposed=transposed)

    arguments = example(transposed, kernel)
    library = F.conv_transpose2d if transposed else F.conv2d
    torch.testing.assert_close(ours(*arguments), library(*arguments, stride=stride, padding=padding))
    assert torch.autograd.gradcheck(ours, arguments)
    assert torch.autograd.gradgradcheck(ours, arguments)


def test_leaky_relu_and_its_derivatives() -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double).requires_grad_()
    torch.testing.assert_close(activate(x.clone()), F.leaky_relu(x, 0.2))
    assert torch.autograd.gradcheck(lambda x: activate(x.clone()), x)
    assert torch.autograd.gradgradcheck(lambda x: activate(x.clone()) * x, x)


def test_pixel_norm_and_its_derivative() -> None:
    x = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double).requires_grad_()
    torch.testing.assert_close(pixel_norm(x).square().mean(dim=1), torch.ones(2, 3, 3, dtype=torch.double))
    assert torch.autograd.gradcheck(lambda x: pixel_norm(x), x)


def penalty_gradient(image: Tensor, weight: Tensor, skip: bool) -> Tensor:
    score = (convolve(image, weight, None, padding=1) ** 2).sum()
    if skip:
        with image_gradients_only():
            (of_image,) = torch.autograd.grad(score, image, create_graph=True)
    else:
        (of_image,) = torch.autograd.grad(score, image, create_graph=True)
    return torch.autograd.grad(of_image.square().sum(), weight)[0]


def test_skipping_the_weights_once_does_not_change_the_penalty() -> None:
    image, weight, _ = example(False, 3)
    assert torch.equal(penalty_gradient(image, weight, skip=True), penalty_gradient(image, weight, skip=False))
