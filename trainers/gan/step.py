"""One update of both networks, in which device and host never wait for each other (but for a detector's loss)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import get_total_norm

from trainers.distributed import Context
from trainers.gan.augmentation import OPERATIONS, PARAMETERS, Augmentation, adapted, overfitting
from trainers.gan.batches import Batch
from trainers.gan.checkpoint import TrainingState
from trainers.gan.feedback import DetectorFeedback, feedback_weight
from trainers.gan.layers import resized
from trainers.gan.losses import discriminator_loss, generator_loss, penalty
from trainers.gan.networks import Generator
from trainers.gan.sampling import signed, unit
from trainers.gan.schedule import Phase, phase_at
from trainers.gan.workers import average, average_gradients

STATISTICS = (
    "gan/d_loss",
    "gan/g_loss",
    "gan/gradient_penalty",
    "gan/distance",
    "gan/overfitting",
    "gan/detector_loss",
)

SMOOTHING = 0.05
"""Weight of a step in the running mean of the overfitting signal."""


def update(
    state: TrainingState, batch: Batch, share: range, feedback: DetectorFeedback | None, context: Context
) -> Tensor:
    """Update the discriminator, then the generator and its average.

    Noise, interpolation and augmentation are drawn for all places of the step and depend on the config's seed and the
    images shown alone, so that a resumed run, or one with another number of workers, goes on alike.

    Args:
        state: changed, but for its count of images.
        batch: this worker's slices.
        share: their places in the step's `batch_size`.

    Returns:
        This worker's STATISTICS, a float32 vector on the device.
    """
    config = state.config
    phase = phase_at(config, state.images)
    drawn = _draw(state, share, context.device)
    real, condition = _shown(batch, phase, context.device)
    seen = condition if drawn.augmentation is None else drawn.augmentation.condition(condition)
    part = len(share) / config.batch_size

    def augmented(images: Tensor) -> Tensor:
        return images if drawn.augmentation is None else drawn.augmentation.images(images)

    with torch.no_grad():
        real = augmented(real)
        fake = augmented(state.generator(drawn.latents[0], condition, phase))
    on_real, on_fake = state.discriminator(torch.cat([real, fake]), torch.cat([seen, seen]), phase).chunk(2)
    loss = discriminator_loss(config, on_real, on_fake)
    # Two backward passes, each of which frees its graph before the next is made.
    loss.backward()
    of_penalty = torch.zeros_like(loss)
    if state.images // config.batch_size % config.penalty_interval == 0:
        of_penalty = penalty(config, state.discriminator, real, fake, seen, phase, drawn.mix) * config.penalty_interval
        (config.gradient_penalty * of_penalty).backward()
    total = (loss + config.gradient_penalty * of_penalty).detach()
    broken = _apply(state.discriminator, state.discriminator_optimiser, total, part, context.world_size)
    state.skipped += broken
    signal = overfitting(on_real.detach(), on_fake.detach())
    if config.augment == "adaptive":
        _adapt(state, average(signal, part, context.world_size), broken)

    state.discriminator.requires_grad_(False)
    with torch.no_grad():
        paired = state.discriminator(real, seen, phase) if config.loss == "relativistic" else None
    fake = state.generator(drawn.latents[1], condition, phase)
    of_generator = generator_loss(config, state.discriminator(augmented(fake), seen, phase), paired)
    of_detector = torch.zeros_like(of_generator)
    weight = feedback_weight(config, state.images)
    if feedback is not None and weight:
        of_detector = feedback(fake, batch.boxes)
    loss = of_generator + weight * of_detector
    loss.backward()
    state.discriminator.requires_grad_(True)
    broken = _apply(state.generator, state.generator_optimiser, loss.detach(), part, context.world_size)
    state.skipped += broken
    _average(state.average, state.generator, (1 - config.ema) * (1 - broken))
    distance = on_real.mean() - on_fake.mean()
    return torch.stack([total, of_generator, of_penalty, distance, signal, of_detector]).detach()


@dataclass(frozen=True)
class _Draws:
    latents: Tensor
    """2 x N x the generator's latent shape: for the discriminator's and for the generator's update."""
    mix: Tensor
    augmentation: Augmentation | None


def _draw(state: TrainingState, share: range, device: torch.device) -> _Draws:
    config = state.config
    seed = np.random.SeedSequence([config.seed, 4, state.images]).generate_state(1, np.uint64)[0]
    random = torch.Generator(device).manual_seed(int(seed))
    mine = slice(share.start, share.stop)
    latents = torch.randn(2, config.batch_size, *state.generator.latent_shape, generator=random, device=device)[:, mine]
    mix = torch.rand(config.batch_size, generator=random, device=device)[mine]
    if config.augment == "none":
        return _Draws(latents, mix, None)
    uniform = torch.rand(config.batch_size, PARAMETERS + OPERATIONS, generator=random, device=device)[mine]
    return _Draws(latents, mix, Augmentation.draw(uniform, state.augment_probability))


def _shown(batch: Batch, phase: Phase, device: torch.device) -> tuple[Tensor, Tensor]:
    """Slices and conditions as the phase shows them: at its resolution, the slices faded like the synthetic ones."""
    real = resized(signed(batch.images, device), phase.resolution)
    if phase.alpha < 1.0:
        coarse = F.interpolate(F.avg_pool2d(real, 2), scale_factor=2, mode="nearest")
        real = torch.lerp(coarse, real, phase.alpha)
    return real, resized(unit(batch.conditions, device), phase.resolution)


def _apply(module: nn.Module, optimiser: Any, loss: Tensor, share: float, world_size: int) -> Tensor:
    """Update the weights and return 0; where loss or gradient is not finite change nothing and return 1 (scalars)."""
    loss = average_gradients(module, loss, share, world_size)
    norm = get_total_norm([parameter.grad for parameter in module.parameters() if parameter.grad is not None])
    broken = (~(norm + loss).isfinite()).float()
    optimiser.found_inf = broken  # how torch's GradScaler has a fused optimiser skip a step
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return broken


@torch.no_grad()
def _average(average: Generator, generator: Generator, share: Tensor) -> None:
    for mean, newest in zip(average.parameters(), generator.parameters(), strict=True):
        mean.lerp_(newest, share)


def _adapt(state: TrainingState, signal: Tensor, broken: Tensor) -> None:
    """Steer the augmentation by a running mean: the signal of one step takes few values."""
    config = state.config
    step = config.batch_size / (1000 * config.augment_kimg) * (1 - broken)
    state.overfitting = torch.where(broken > 0, state.overfitting, state.overfitting.lerp(signal, SMOOTHING))
    state.augment_probability = adapted(state.augment_probability, state.overfitting, config.augment_target, step)
