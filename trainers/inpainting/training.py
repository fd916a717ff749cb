"""Training an inpainter on windows around the lesions of the training split."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainers.data.slice_set import SliceSet
from trainers.distributed import Context
from trainers.exceptions import TrainingError
from trainers.gan.arithmetic import arithmetic
from trainers.gan.sampling import on_device, signed
from trainers.gan.source import write_source
from trainers.gan.workers import average, average_gradients, check_equal, check_group, from_first
from trainers.inpainting.checkpoint import FILE, TrainingState
from trainers.inpainting.config import WEIGHTS_FILE, InpaintConfig
from trainers.inpainting.figures import draw_examples, draw_loss
from trainers.inpainting.inpainter import Inpainter
from trainers.inpainting.network import NOISE_LEVELS, noised, surroundings_of, velocity
from trainers.inpainting.windows import TrainingWindows, Windows, box_of, fits
from trainers.pasting.lesions import Lesion, training_lesions, write_lesions
from trainers.weights import read_saved

REPORTS = 100
SNAPSHOTS = 6
EXAMPLES = 16


def train_inpainter(config: InpaintConfig, slices: SliceSet, out: Path, context: Context) -> None:
    """Train an inpainter, or continue from the newest checkpoint of the context, and write it into the folder `out`.

    Written by rank 0 at the end: `inpainter.pt` (state dict of the averaged network), `config.json`, `history.jsonl`
    (one report per line), `source.json` (what it learnt from), the lesions that it learnt (`write_lesions`) and
    `figures/*.png`. The result depends on the config and the slices alone, whether or not the run was interrupted (bit
    for bit on one CPU worker), and not on the number of workers but for the order of sums.

    Args:
        slices: only the training split is read.
        context: rank, device, progress and checkpoints; only rank 0's checkpoints are read.

    Raises:
        TrainingError: the slices or the workers do not fit the config, a checkpoint belongs to another config, the
            workers' networks became unequal, or the loss is not finite.
    """
    check_group(context.world_size)
    lesions = fitting_lesions(config, slices, context.world_size)
    with arithmetic(config, context.device):
        windows = TrainingWindows(config, slices.images, lesions)
        state = TrainingState.initial(config, context.device)
        folder = context.load_checkpoint() if context.rank == 0 else None
        payload = from_first(read_saved(folder / FILE, "an inpainter") if folder else None, context.world_size)
        if payload is not None:
            state.restore(payload, folder or Path("the checkpoint of rank 0"))
        examples = windows.examples(EXAMPLES)
        _run(state, windows, examples, context)
    if context.rank == 0:
        _write(state, examples, out)
        write_lesions(lesions, slices, out)
        write_source(out, slices, None)


def fitting_lesions(config: InpaintConfig, slices: SliceSet, workers: int) -> list[Lesion]:
    """The lesions that an inpainter learns; TrainingError if slices or workers do not fit the config."""
    if config.window > slices.size:
        raise TrainingError(
            f"{slices.path}: slices are {slices.size} pixels wide, but inpaint.window is {config.window}; allowed: up "
            "to the slices' width. Lower inpaint.window."
        )
    if config.batch_size < workers:
        raise TrainingError(
            f"inpaint.batch_size is {config.batch_size}, but there are {workers} workers; allowed: at least one window "
            "per worker. Raise inpaint.batch_size or use fewer workers."
        )
    cut = training_lesions(slices)
    lesions = [lesion for lesion in cut if fits(box_of(lesion), config)]
    if len({lesion.row for lesion in lesions}) < 2:
        raise TrainingError(
            f"{slices.path}: of {len(cut)} training lesions {len(lesions)} fit into windows of {config.window} pixels "
            f"with a rim of {config.rim}; needed: lesions of at least 2 slices. Raise inpaint.window."
        )
    return lesions


def _run(state: TrainingState, windows: TrainingWindows, examples: Windows, context: Context) -> None:
    config, world = state.config, context.world_size
    share = range(*(config.batch_size * part // world for part in (context.rank, context.rank + 1)))
    total = config.total_images
    losses: list[Tensor] = []
    started, first = time.perf_counter(), state.images
    while state.images < total:
        before = state.images
        losses.append(_update(state, windows.batch(before, share), share, context))
        state.images += config.batch_size
        finished = state.images >= total
        keep = not finished and _passes(total / (config.checkpoint_kimg * 1000), before, state.images, total)
        if finished or keep or _passes(REPORTS, before, state.images, total):
            loss = average(torch.stack(losses).mean(), len(share) / config.batch_size, world).item()
            seconds = time.perf_counter() - started
            _report(state, {"loss": loss, "sec_per_kimg": 1000 * seconds / (state.images - first)}, context)
            losses, started, first = [], time.perf_counter(), state.images
        if context.rank == 0 and (finished or _passes(SNAPSHOTS, before, state.images, total)):
            state.snapshots.append(torch.from_numpy(_drawn(state, examples)))
        if keep:
            check_equal([state.network, state.average], world)
            context.save_checkpoint(state.save)
        elif not finished:
            context.stop_point(state.save)


def _update(state: TrainingState, windows: Windows, share: range, context: Context) -> Tensor:
    """One step; returns this worker's loss.

    Noise and its levels are drawn for all places of the step and depend on the config's seed and the windows shown
    alone, so that a resumed run, or one with another number of workers, goes on alike.
    """
    config, device = state.config, context.device
    seed = np.random.SeedSequence([config.seed, 3, state.images]).generate_state(1, np.uint64)[0]
    random = torch.Generator(device).manual_seed(int(seed))
    batch, mine = config.batch_size, slice(share.start, share.stop)
    noise = torch.randn(batch, 1, config.window, config.window, generator=random, device=device)[mine]
    # The levels of a step are spread evenly, which steadies the loss (Kingma et al., Variational diffusion models).
    spread = torch.arange(batch, device=device) + torch.rand((), generator=random, device=device)
    level = (spread / batch * NOISE_LEVELS).long().clamp(max=NOISE_LEVELS - 1)[mine]

    images = signed(windows.images, device)
    weights, contrast = (on_device(part, device).unsqueeze(1) for part in (windows.weights, windows.contrast))
    surroundings = surroundings_of(images, weights, contrast)
    region = surroundings[:, 1:2]
    noisy, wanted = noised(images, noise, level)
    error = (velocity(state.network, noisy, surroundings, level) - wanted).square() * region
    loss = (error.sum(dim=(1, 2, 3)) / region.sum(dim=(1, 2, 3))).mean()
    loss.backward()
    average_gradients(state.network, loss.detach(), len(share) / batch, context.world_size)
    for group in state.optimiser.param_groups:
        group["lr"] = config.learning_rate * (1 + math.cos(math.pi * state.images / config.total_images)) / 2
    state.optimiser.step()
    state.optimiser.zero_grad(set_to_none=True)
    with torch.no_grad():
        for mean, new in zip(state.average.parameters(), state.network.parameters(), strict=True):
            mean.lerp_(new, 1 - config.ema)
    return loss.detach()


def _passes(parts: float, before: int, after: int, total: int) -> bool:
    """Whether a step ends one of `parts` equal parts of the run."""
    return math.floor(before / total * parts) != math.floor(after / total * parts)


def _report(state: TrainingState, figures: dict[str, float], context: Context) -> None:
    if not math.isfinite(figures["loss"]):
        raise TrainingError(
            f"After {state.images} windows the loss is {figures['loss']}. Lower inpaint.learning_rate "
            f"({state.config.learning_rate}) and start again: training goes on from the last checkpoint."
        )
    metrics = {f"inpainter/{name}": value for name, value in figures.items()}
    state.history.append({"images": state.images, "time": time.time(), **metrics})
    context.progress(min(state.images, state.config.total_images), state.config.total_images, metrics)


def _drawn(state: TrainingState, examples: Windows) -> np.ndarray:
    """The averaged network's lesions in the same windows, from the same noise each time; N x W x W uint8."""
    device = next(state.average.parameters()).device
    noise = np.random.default_rng([state.config.seed, 4]).standard_normal(examples.images.shape, dtype=np.float32)
    return Inpainter(state.config, state.average, device).draw(examples, noise)


def _write(state: TrainingState, examples: Windows, out: Path) -> None:
    torch.save({name: value.cpu() for name, value in state.average.state_dict().items()}, out / WEIGHTS_FILE)
    (out / "config.json").write_text(state.config.model_dump_json(indent=2))
    (out / "history.jsonl").write_text("".join(json.dumps(report) + "\n" for report in state.history))
    (out / "figures").mkdir(exist_ok=True)
    draw_examples(out / "figures" / "samples.png", examples, [snapshot.numpy() for snapshot in state.snapshots])
    draw_loss(out / "figures" / "loss.png", state.history)
