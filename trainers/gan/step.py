"""One update of both networks, in which device and host never wait for each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.distributed import Context
from trainers.gan.augmentation import OPERATIONS, PARAMETERS, Augmentation, adapted, overfitting
from trainers.gan.batches import Batch
from trainers.gan.checkpoint import TrainingState
from trainers.gan.config import GANConfig
from trainers.gan.feedback import DetectorFeedback, feedback_weight, padded
from trainers.gan.layers import resized
from trainers.gan.losses import discriminator_loss, generator_loss, penalty
from trainers.gan.networks import Generator
from trainers.gan.sampling import on_device, signed_levels, unit_levels
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


@dataclass(frozen=True)
class Inputs:
    """All that an update reads beside the state, on the device: of the same shapes at every step."""

    images: Tensor
    """N x H x W uint8."""
    conditions: Tensor
    """N x H x W uint8."""
    boxes: Tensor
    """N x M x 4 float32: x0, y0, x1, y1, pixels; rows of zeros fill up. N is 0 where no detector teaches."""
    latents: Tensor
    """2 x N x the generator's latent shape: for the discriminator's and for the generator's update."""
    mix: Tensor
    """N, 0 to 1: where between a real and a synthetic image the penalty is taken."""
    uniform: Tensor
    """N x numbers that decide the augmentation, 0 to 1."""


@dataclass(frozen=True)
class Course:
    """Where the schedule stands: which parts of an update take place, and how strongly."""

    phase: Phase
    penalised: bool
    """Whether the penalty is due (`penalty_interval`)."""
    taught: bool
    """Whether the detector's loss counts."""
    teaching: float | Tensor
    """Its weight; scalar."""


def course_at(config: GANConfig, images: int) -> Course:
    """The course after `images` images were shown."""
    weight = feedback_weight(config, images) if config.traits.needs_detector else 0.0
    penalised = images // config.batch_size % config.penalty_interval == 0
    return Course(phase_at(config, images), penalised, weight > 0, weight)


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
    inputs = inputs_of(state, batch, share, context.device)
    return run_update(state, inputs, course_at(state.config, state.images), feedback, context)


def inputs_of(state: TrainingState, batch: Batch, share: range, device: torch.device) -> Inputs:
    """A step's slices and the random numbers that go with them."""
    config = state.config
    seed = np.random.SeedSequence([config.seed, 4, state.images]).generate_state(1, np.uint64)[0]
    random = torch.Generator(device).manual_seed(int(seed))
    mine = slice(share.start, share.stop)
    latents = torch.randn(2, config.batch_size, *state.generator.latent_shape, generator=random, device=device)
    mix = torch.rand(config.batch_size, generator=random, device=device)
    numbers = 0 if config.augment == "none" else PARAMETERS + OPERATIONS
    return Inputs(
        on_device(batch.images, device),
        on_device(batch.conditions, device),
        on_device(padded(batch.boxes if course_at(config, state.images).taught else []), device),
        latents[:, mine],
        mix[mine],
        torch.rand(config.batch_size, numbers, generator=random, device=device)[mine],
    )


def run_update(
    state: TrainingState, inputs: Inputs, course: Course, feedback: DetectorFeedback | None, context: Context
) -> Tensor:
    """`update` with everything on the device, which can be recorded: it decides nothing by what a tensor holds."""
    config, phase = state.config, course.phase
    real, condition = _shown(inputs, phase)
    augmentation = None
    if config.augment != "none":
        augmentation = Augmentation.draw(inputs.uniform, state.augment_probability)
    seen = condition if augmentation is None else augmentation.condition(condition)
    part = len(real) / config.batch_size

    def augmented(images: Tensor) -> Tensor:
        return images if augmentation is None else augmentation.images(images)

    with torch.no_grad():
        real = augmented(real)
        fake = augmented(state.generator(inputs.latents[0], condition, phase))
    on_real, on_fake = state.discriminator(torch.cat([real, fake]), torch.cat([seen, seen]), phase).chunk(2)
    loss = discriminator_loss(config, on_real, on_fake)
    # Two backward passes, each of which frees its graph before the next is made.
    loss.backward()
    of_penalty = torch.zeros_like(loss)
    if course.penalised:
        of_penalty = penalty(config, state.discriminator, real, fake, seen, phase, inputs.mix) * config.penalty_interval
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
    fake = state.generator(inputs.latents[1], condition, phase)
    of_generator = generator_loss(config, state.discriminator(augmented(fake), seen, phase), paired)
    of_detector = torch.zeros_like(of_generator)
    if feedback is not None and course.taught:
        of_detector = feedback(fake, inputs.boxes)
    loss = of_generator + course.teaching * of_detector
    loss.backward()
    state.discriminator.requires_grad_(True)
    broken = _apply(state.generator, state.generator_optimiser, loss.detach(), part, context.world_size)
    state.skipped += broken
    _average(state.average, state.generator, (1 - config.ema) * (1 - broken))
    distance = on_real.mean() - on_fake.mean()
    return torch.stack([total, of_generator, of_penalty, distance, signal, of_detector]).detach()


def _shown(inputs: Inputs, phase: Phase) -> tuple[Tensor, Tensor]:
    """Slices and conditions as the phase shows them: at its resolution, the slices faded like the synthetic ones."""
    real = resized(signed_levels(inputs.images), phase.resolution)
    if phase.fades:
        real = phase.blend(F.interpolate(F.avg_pool2d(real, 2), scale_factor=2, mode="nearest"), real)
    return real, resized(unit_levels(inputs.conditions), phase.resolution)


def _apply(module: nn.Module, optimiser: Any, loss: Tensor, share: float, world_size: int) -> Tensor:
    """Update the weights and return 0; where loss or gradient is not finite change nothing and return 1 (scalars)."""
    loss = average_gradients(module, loss, share, world_size)
    broken = (~loss.isfinite()).float()
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    # What torch's GradScaler calls: one pass over all gradients, which here are multiplied by 1.
    torch.ops.aten._amp_foreach_non_finite_check_and_unscale_(gradients, broken, torch.ones_like(broken))
    optimiser.found_inf = broken  # how the GradScaler has a fused optimiser skip a step
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return broken


@torch.no_grad()
def _average(average: Generator, generator: Generator, share: Tensor) -> None:
    means, newest = list(average.parameters()), list(generator.parameters())
    if share.is_cuda:  # three launches; on a CPU one pass over the weights is faster than three
        aten = torch.ops.aten
        steps = aten._foreach_sub(newest, means)
        aten._foreach_mul_(steps, share)
        aten._foreach_add_(means, steps)
        return
    for mean, new in zip(means, newest, strict=True):
        mean.lerp_(new, share)


def _adapt(state: TrainingState, signal: Tensor, broken: Tensor) -> None:
    """Steer the augmentation by a running mean: the signal of one step takes few values."""
    config = state.config
    step = config.batch_size / (1000 * config.augment_kimg) * (1 - broken)
    state.overfitting.copy_(torch.where(broken > 0, state.overfitting, state.overfitting.lerp(signal, SMOOTHING)))
    state.augment_probability.copy_(adapted(state.augment_probability, state.overfitting, config.augment_target, step))
