"""Training a GAN on the training split of a slice set (paper section 2.2)."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.data.slice_set import SliceSet
from trainers.distributed import Context
from trainers.exceptions import TrainingError
from trainers.gan import figures
from trainers.gan.batches import Batch, TrainingSlices
from trainers.gan.checkpoint import TrainingState
from trainers.gan.config import GANConfig
from trainers.gan.layers import resized
from trainers.gan.losses import discriminator_loss, generator_loss
from trainers.gan.networks import Generator
from trainers.gan.sampling import noise, sample, signed, unit
from trainers.gan.schedule import Phase, phase_at
from trainers.gan.workers import average_gradients, average_tensor, broadcast, check_group

REPORTS = 100
SNAPSHOTS = 8
EXAMPLES = 8
LOSSES = ("gan/d_loss", "gan/g_loss", "gan/gradient_penalty", "gan/distance")


def train_gan(config: GANConfig, slices: SliceSet, out: Path, context: Context) -> None:
    """Train a GAN, or continue from the newest checkpoint of the context, and write it into the existing folder `out`.

    Written by rank 0 at the end: `generator.pt` (state dict of the averaged generator), `config.json`, `history.jsonl`
    (one report a line) and `figures/*.png`. The result depends on the config and the slices alone, whether or not the
    run was interrupted (bit for bit on one CPU worker). Workers draw noise and flips of their own:
    another number of them gives another, equally trained GAN.

    Args:
        config: the GAN and its schedule.
        slices: prepared at `config.resolution`; only its training split is read.
        out: folder for the results.
        context: rank, device, progress and checkpoints.

    Raises:
        TrainingError: the slice set or the workers do not fit the config, a checkpoint belongs to another config, or a
            loss is no longer finite.
    """
    check_group(context.world_size)
    data = TrainingSlices(config, slices, context.rank, context.world_size)
    state = TrainingState.initial(config, data.local_batch, context.device)
    checkpoint = context.load_checkpoint()
    if checkpoint is not None:
        state.restore(checkpoint)
    for module in (state.generator, state.discriminator, state.average):
        broadcast(module, context.world_size)
    examples, boxes = data.examples(EXAMPLES)
    _run(state, data, examples, context)
    if context.rank == 0:
        _write(state, examples, boxes, out)


def _run(state: TrainingState, data: TrainingSlices, examples: Batch, context: Context) -> None:
    total = state.config.total_images
    checkpoints = total / (state.config.checkpoint_kimg * 1000)
    sums = torch.zeros(len(LOSSES), device=context.device)
    steps = 0
    while state.images < total:
        before = state.images
        sums += _step(state, data.batch(before), context)
        steps += 1
        state.images = before + state.config.batch_size
        finished = state.images >= total
        done = (before / total, state.images / total)
        keep = not finished and _passes(checkpoints, *done)
        if finished or keep or _passes(REPORTS, *done):
            _report(state, average_tensor(sums / steps, context.world_size), context)
            sums.zero_()
            steps = 0
        if finished or _passes(SNAPSHOTS, *done):
            state.snapshots.append(torch.from_numpy(_examples_made(state, examples.conditions)))
        if keep:
            context.save_checkpoint(state.save)


def _step(state: TrainingState, batch: Batch, context: Context) -> Tensor:
    """One discriminator and one generator update; returns the losses in the order of LOSSES, without waiting."""
    config = state.config
    phase = phase_at(config, state.images)
    random = _random(config.seed, context.rank, state.images, context.device)
    real, condition = _shown(batch, phase, context.device)
    latents = torch.randn(2, len(real), *state.generator.latent_shape, generator=random, device=context.device)
    mix = torch.rand(len(real), generator=random, device=context.device)

    with torch.no_grad():
        fake = state.generator(latents[0], condition, phase)
    critic = discriminator_loss(
        state.discriminator,
        real,
        fake,
        condition,
        phase,
        mix,
        penalty_weight=config.gradient_penalty,
        drift=config.drift,
    )
    critic.total.backward()
    average_gradients(state.discriminator, context.world_size)
    state.discriminator_optimiser.step()
    state.discriminator_optimiser.zero_grad(set_to_none=True)

    state.discriminator.requires_grad_(False)
    loss = generator_loss(state.discriminator, state.generator(latents[1], condition, phase), condition, phase)
    loss.backward()
    state.discriminator.requires_grad_(True)
    average_gradients(state.generator, context.world_size)
    state.generator_optimiser.step()
    state.generator_optimiser.zero_grad(set_to_none=True)
    _average(state.average, state.generator, config.ema)
    return torch.stack([critic.total.detach(), loss.detach(), critic.penalty.detach(), critic.distance])


@torch.no_grad()
def _average(average: Generator, generator: Generator, keep: float) -> None:
    for mean, newest in zip(average.parameters(), generator.parameters(), strict=True):
        mean.lerp_(newest, 1.0 - keep)


def _shown(batch: Batch, phase: Phase, device: torch.device) -> tuple[Tensor, Tensor]:
    """Slices and conditions as the phase shows them: at its resolution, the slices faded like the synthetic ones."""
    real = resized(signed(batch.images, device), phase.resolution)
    if phase.alpha < 1.0:
        coarse = F.interpolate(F.avg_pool2d(real, 2), scale_factor=2, mode="nearest")
        real = torch.lerp(coarse, real, phase.alpha)
    return real, resized(unit(batch.conditions, device), phase.resolution)


def _random(seed: int, rank: int, images: int, device: torch.device) -> torch.Generator:
    state = int(np.random.SeedSequence([seed, 4, rank, images]).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(state)


def _passes(parts: float, before: float, after: float) -> bool:
    """Whether a step ends one of `parts` equal parts of the run."""
    return math.floor(before * parts) != math.floor(after * parts)


def _report(state: TrainingState, losses: Tensor, context: Context) -> None:
    metrics = dict(zip(LOSSES, losses.tolist(), strict=True))
    if not all(math.isfinite(value) for value in metrics.values()):
        raise TrainingError(
            f"The GAN's losses are not finite after {state.images} images: {metrics}. Lower gan.learning_rate "
            f"(got {state.config.learning_rate}) or lengthen gan.fade_kimg (got {state.config.fade_kimg})."
        )
    phase = phase_at(state.config, state.images)
    metrics |= {"gan/resolution": float(phase.resolution), "gan/alpha": phase.alpha}
    state.history.append({"images": state.images, "time": time.time(), **metrics})
    context.progress(min(state.images, state.config.total_images), state.config.total_images, metrics)


def _examples_made(state: TrainingState, conditions: np.ndarray) -> np.ndarray:
    """The averaged generator's slices at `conditions`, with the same noise each time; both N x H x W uint8."""
    phase = phase_at(state.config, state.images)
    device = next(state.average.parameters()).device
    condition = resized(unit(conditions, device), phase.resolution)
    shape = state.average.latent_shape
    latents = np.stack([noise(state.config.seed, index, shape) for index in range(len(condition))])
    made = sample(state.average, condition, latents, phase)
    return np.kron(made, np.ones((1, *(2 * [state.config.resolution // phase.resolution])), dtype=np.uint8))


def _write(state: TrainingState, examples: Batch, boxes: list[np.ndarray], out: Path) -> None:
    torch.save({name: value.cpu() for name, value in state.average.state_dict().items()}, out / "generator.pt")
    (out / "config.json").write_text(state.config.model_dump_json(indent=2))
    (out / "history.jsonl").write_text("".join(json.dumps(report) + "\n" for report in state.history))
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    made = [snapshot.numpy() for snapshot in state.snapshots]
    rows = {
        "real": examples.images,
        "condition": examples.conditions,
        "synthetic": made[-1],
        "unconditioned": _examples_made(state, np.zeros_like(examples.conditions)),
    }
    figures.contact_sheet(folder / "samples.png", rows, {"real": boxes})
    moments = {f"{(row + 1) / len(made):.0%}": images for row, images in enumerate(made)}
    figures.contact_sheet(folder / "progress.png", moments, dict.fromkeys(moments, boxes))
    figures.loss_curves(folder / "losses.png", state.history)
