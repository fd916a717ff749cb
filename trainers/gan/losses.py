"""Wasserstein loss with gradient penalty (Gulrajani et al. 2017, equation 3), conditional."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.gan.convolution import image_gradients_only
from trainers.gan.networks import Discriminator
from trainers.gan.schedule import Phase


@dataclass(frozen=True)
class DiscriminatorLoss:
    """The discriminator's loss and its parts, each a scalar tensor."""

    total: Tensor
    """mean D(fake) - mean D(real) + lambda x penalty + drift x mean D(real)^2."""
    distance: Tensor
    """mean D(real) - mean D(fake), the estimate of the Wasserstein distance; no gradient."""
    penalty: Tensor
    """The gradient penalty before lambda."""


def discriminator_loss(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    condition: Tensor,
    phase: Phase,
    mix: Tensor,
    *,
    penalty_weight: float,
    drift: float,
) -> DiscriminatorLoss:
    """The discriminator's loss on real and synthetic images that share their conditions.

    Args:
        discriminator: scores images.
        real: N x 1 x R x R, -1 to 1.
        fake: of the same shape, without gradient.
        condition: N x 1 x R x R, 0 to 1.
        phase: resolution R and fade.
        mix: N, uniform in 0 to 1: one interpolation factor a sample.
        penalty_weight: lambda.
        drift: weight of the drift term.
    """
    scores = discriminator(torch.cat([real, fake]), torch.cat([condition, condition]), phase)
    on_real, on_fake = scores.chunk(2)
    distance = on_real.mean() - on_fake.mean()
    penalty = gradient_penalty(discriminator, real, fake, condition, phase, mix)
    total = penalty_weight * penalty - distance + drift * on_real.square().mean()
    return DiscriminatorLoss(total, distance.detach(), penalty)


def gradient_penalty(
    discriminator: Discriminator, real: Tensor, fake: Tensor, condition: Tensor, phase: Phase, mix: Tensor
) -> Tensor:
    """Mean of (|gradient of D wrt the image| - 1)^2 between real and synthetic images; the condition is fixed.

    Arguments as for `discriminator_loss`. Differentiable in D's weights: never compile it (torch turns the double
    backward into a constant or an error).
    """
    between = torch.lerp(real, fake, mix.view(-1, 1, 1, 1)).requires_grad_(True)
    score = discriminator(between, condition, phase).sum()
    with image_gradients_only():
        (gradient,) = torch.autograd.grad(score, between, create_graph=True)
    norm = (gradient.square().sum(dim=(1, 2, 3)) + 1e-12).sqrt()
    return (norm - 1.0).square().mean()


def generator_loss(discriminator: Discriminator, fake: Tensor, condition: Tensor, phase: Phase) -> Tensor:
    """-mean D(fake), scalar."""
    return -discriminator(fake, condition, phase).mean()
