"""The contenders of bench_gan that are ours do the same work: no peer is needed here."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.benchmarks.gan_contenders import iteration, our_iteration, torchs_own, trained, unfuse
from trainers.flops import count_flops
from trainers.gan.checkpoint import TrainingState
from trainers.gan.config import GANConfig
from trainers.gan.losses import penalty
from trainers.gan.schedule import Phase

CPU = torch.device("cpu")
CONFIG = GANConfig(resolution=16, width=1 / 32, latent_size=16, learning_rate=0.01)
PHASE = Phase(16, 1.0)


@pytest.fixture
def state() -> TrainingState:
    return trained(CONFIG, CPU)


def outputs(state: TrainingState) -> list[torch.Tensor]:
    """Slices, their scores, and the penalty's gradient for every weight of D."""
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(4, 16, generator=random)
    condition, real = torch.rand(2, 4, 1, 16, 16, generator=random)
    made = state.generator(latents, condition, PHASE)
    weights = list(state.discriminator.parameters())
    of_penalty = penalty(CONFIG, state.discriminator, real, made.detach(), condition, PHASE, torch.full((4,), 0.3))
    gradients = torch.autograd.grad(of_penalty, weights, allow_unused=True, materialize_grads=True)
    return [made, state.discriminator(made, condition, PHASE), *gradients]


def test_unfused_and_plain_networks_give_what_ours_give(state: TrainingState) -> None:
    ours = outputs(state)
    with torchs_own():
        plain = outputs(state)
    unfused_state = copy.deepcopy(state)
    for network in unfused_state.networks:
        unfuse(network)
    unfused = outputs(unfused_state)
    assert any(tensor.abs().max() > 0.01 for tensor in ours[2:])
    for name, others in (("plain", plain), ("unfused", unfused)):
        for mine, other in zip(ours, others, strict=True):
            torch.testing.assert_close(other, mine, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_our_iteration_trains_both_networks_and_the_average(state: TrainingState) -> None:
    before = [copy.deepcopy(network) for network in state.networks]
    our_iteration(state, CPU)()
    for network, old in zip(state.networks, before, strict=True):
        changed = [not torch.equal(a, b) for a, b in zip(network.parameters(), old.parameters(), strict=True)]
        # The image layers of smaller resolutions, weight and bias, take no part.
        assert changed.count(False) <= 4


@torch.no_grad()
def test_flops_of_a_forward_pass_are_those_of_its_layers(state: TrainingState) -> None:
    latents, condition = torch.zeros(4, 16), torch.zeros(4, 1, 16, 16)
    width, side = 16, 4
    by_hand = 16 * width * side**2 + width**2 * 9 * side**2
    for _ in range(2):
        by_hand += (width + 1) * width * 16 * side**2  # 4x4 kernels at each pixel of the lower resolution
        side *= 2
        by_hand += width**2 * 9 * side**2
    by_hand += width * side**2
    widening = 2 * (width + 1) * width * 9 * 16  # of 3x3 kernels, once for all images
    assert count_flops(lambda: state.generator(latents, condition, PHASE)) == 2 * (4 * by_hand + widening)


def test_operations_within_our_differentiation_are_counted() -> None:
    """Fused scale saves a third, freezing the discriminator another 5 %: were ours not seen, far more would lack."""
    ours, plain, unfused = (count_flops(iteration(name, CONFIG, CPU)) for name in ("ours", "plain", "unfused"))
    assert 0.90 < ours / plain < 0.99
    assert 0.55 < ours / unfused < 0.85
