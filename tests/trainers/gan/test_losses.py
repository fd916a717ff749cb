from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.trainers.gan.tiny_batches import FULL, inputs, seeded
from tests.trainers.gan.tiny_runs import SIZE, tiny
from trainers.gan.image2image import ConvolutionalDiscriminator
from trainers.gan.losses import discriminator_loss, generator_loss, penalty
from trainers.gan.networks import CPGGANDiscriminator, Discriminator
from trainers.gan.schedule import Phase


class Linear(Discriminator):
    """Score = weight . image: its gradient wrt the image is the weight everywhere."""

    def __init__(self, norm: float) -> None:
        super().__init__()
        weight = torch.randn(SIZE * SIZE, generator=seeded())
        self.weight = nn.Parameter(weight / weight.norm() * norm)
        self.on_condition = nn.Parameter(torch.ones(SIZE * SIZE))

    def forward(self, images: Tensor, condition: Tensor, phase: Phase) -> Tensor:
        return images.flatten(1) @ self.weight + condition.flatten(1) @ self.on_condition


@pytest.mark.parametrize("norm", [0.25, 1.0, 3.0])
def test_penalties_of_a_linear_critic_by_hand(norm: float) -> None:
    _, real, condition = inputs(4)
    mix = torch.rand(4, generator=seeded())
    for loss, expected in (("wgan-gp", (norm - 1) ** 2), ("r1", norm**2 / 2), ("relativistic", norm**2)):
        got = penalty(tiny(loss=loss), Linear(norm), real, torch.zeros_like(real), condition, FULL, mix)
        assert got.item() == pytest.approx(expected, abs=1e-5)


def test_losses_by_hand() -> None:
    on_real, on_fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 1.5])
    soft = F.softplus
    wasserstein = tiny(loss="wgan-gp", drift=0.1)
    torch.testing.assert_close(discriminator_loss(wasserstein, on_real, on_fake), torch.tensor(1.0 - 0.5 + 0.25))
    torch.testing.assert_close(generator_loss(wasserstein, on_fake), torch.tensor(-1.0))
    logistic = tiny(loss="r1")
    expected = (soft(on_fake) + soft(-on_real)).mean()
    torch.testing.assert_close(discriminator_loss(logistic, on_real, on_fake), expected)
    torch.testing.assert_close(generator_loss(logistic, on_fake), soft(-on_fake).mean())
    paired = tiny(loss="relativistic")
    torch.testing.assert_close(discriminator_loss(paired, on_real, on_fake), soft(torch.tensor([-1.5, 2.5])).mean())
    torch.testing.assert_close(generator_loss(paired, on_fake, on_real), soft(torch.tensor([1.5, -2.5])).mean())


def test_the_penalty_mixes_once_a_sample_and_leaves_the_condition_alone() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Spy(Linear):
        def forward(self, images: Tensor, condition: Tensor, phase: Phase) -> Tensor:
            seen.append((images.detach(), condition))
            return super().forward(images, condition, phase)

    _, real, condition = inputs(3)
    penalty(tiny(), Spy(1.0), real, real + 1.0, condition, FULL, torch.tensor([0.0, 0.5, 1.0]))
    images, shown = seen[0]
    torch.testing.assert_close(images, real + torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1))
    assert shown is condition


@pytest.mark.parametrize("loss", ["wgan-gp", "r1", "relativistic"])
@pytest.mark.parametrize("variant", ["cpggan", "image2image"])
def test_the_penalty_has_gradient_in_the_weights(variant: str, loss: str) -> None:
    config = tiny(variant=variant, loss=loss, batch_size=2)
    if variant == "cpggan":
        discriminator: Discriminator = CPGGANDiscriminator(config, seeded())
    else:
        discriminator = ConvolutionalDiscriminator(config, seeded())
    _, real, condition = inputs(2)
    penalty(config, discriminator, real, -real, condition, FULL, torch.tensor([0.3, 0.6])).backward()
    weights = dict(discriminator.named_parameters())
    used = [name for name, weight in weights.items() if weight.grad is not None and weight.grad.abs().max() > 0]
    assert [name for name in used if "weight" in name] == [
        name for name in weights if "weight" in name and name not in ("from_image.0.weight", "from_image.1.weight")
    ]


def test_bf16_computes_the_losses_and_the_penalty_of_fp32_to_its_precision() -> None:
    results = []
    for precision in ("fp32", "bf16"):
        config = tiny(precision=precision)
        discriminator = CPGGANDiscriminator(config, seeded())
        _, real, condition = inputs(4)
        of_penalty = penalty(config, discriminator, real, -real, condition, FULL, torch.full((4,), 0.3))
        of_penalty.backward()
        gradient = torch.cat(
            [weight.grad.flatten() for weight in discriminator.parameters() if weight.grad is not None]
        )
        results.append((discriminator(real, condition, FULL), of_penalty, gradient))
    (score, plain, gradient), (rounded_score, rounded, rounded_gradient) = results
    torch.testing.assert_close(rounded_score, score, rtol=0.03, atol=0.03)
    torch.testing.assert_close(rounded, plain, rtol=0.03, atol=0)
    assert not torch.equal(rounded, plain)
    assert F.cosine_similarity(rounded_gradient, gradient, dim=0) > 0.99
