"""Adversarial losses, conditional: WGAN-GP, the paper's, and two alternatives with zero-centred penalties.

    wgan-gp        mean D(fake) - mean D(real) + drift x mean D(real)^2, penalty (|grad D(mixed)| - 1)^2
                   (Gulrajani et al. 2017, equation 3; drift: Karras et al. 2018, appendix A.1)
    r1             softplus(D(fake)) + softplus(-D(real)), penalty |grad D(real)|^2 / 2 (Mescheder et al. 2018)
    relativistic   softplus(D(fake) - D(real)), penalty (|grad D(real)|^2 + |grad D(fake)|^2) / 2 (Huang et al. 2024)

Gradients are those with respect to the images; the conditions are fixed. Real and synthetic images of a pair share
their condition.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.gan.config import GANConfig
from trainers.gan.convolution import image_gradients_only
from trainers.gan.networks import Discriminator
from trainers.gan.schedule import Phase


def discriminator_loss(config: GANConfig, on_real: Tensor, on_fake: Tensor) -> Tensor:
    """The discriminator's loss without penalty, scalar, from the scores (N) of real and synthetic images."""
    if config.loss == "wgan-gp":
        return on_fake.mean() - on_real.mean() + config.drift * on_real.square().mean()
    if config.loss == "r1":
        return (F.softplus(on_fake) + F.softplus(-on_real)).mean()
    return F.softplus(on_fake - on_real).mean()


def generator_loss(config: GANConfig, on_fake: Tensor, on_real: Tensor | None = None) -> Tensor:
    """The generator's loss, scalar; `on_real`, scores without gradient, is read by the relativistic loss alone."""
    if config.loss == "wgan-gp":
        return -on_fake.mean()
    if config.loss == "r1":
        return F.softplus(-on_fake).mean()
    assert on_real is not None
    return F.softplus(on_real - on_fake).mean()


def penalty(
    config: GANConfig,
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    condition: Tensor,
    phase: Phase,
    mix: Tensor,
) -> Tensor:
    """The gradient penalty of the loss before its weight, scalar.

    Differentiable in D's weights: never compile it (torch turns the double backward into a constant or an error).

    Args:
        real: N x 1 x R x R, -1 to 1.
        fake: of the same shape, without gradient.
        condition: N x 1 x R x R, 0 to 1.
        phase: resolution R and fade.
        mix: N, uniform in 0 to 1: one interpolation factor per sample, for WGAN-GP.
    """
    if config.loss == "wgan-gp":
        mixed = torch.lerp(real, fake, mix.view(-1, 1, 1, 1))
        norm = (_squared_gradient(discriminator, mixed, condition, phase) + 1e-12).sqrt()
        return (norm - 1.0).square().mean()
    on_real = _squared_gradient(discriminator, real, condition, phase).mean() / 2
    if config.loss == "r1":
        return on_real
    return on_real + _squared_gradient(discriminator, fake, condition, phase).mean() / 2


def _squared_gradient(discriminator: Discriminator, images: Tensor, condition: Tensor, phase: Phase) -> Tensor:
    """Squared length of the gradient of each image's score; N."""
    images = images.detach().requires_grad_(True)
    score = discriminator(images, condition, phase).sum()
    with image_gradients_only():
        (gradient,) = torch.autograd.grad(score, images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))
