"""Training a GAN on the training split of a slice set (paper section 2.2)."""

from __future__ import annotations

import json
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainers.data.slice_set import SliceSet
from trainers.distributed import Context
from trainers.exceptions import TrainingError
from trainers.gan import figures
from trainers.gan.arithmetic import arithmetic
from trainers.gan.batches import Batch, TrainingSlices
from trainers.gan.checkpoint import FILE, TrainingState
from trainers.gan.config import GANConfig
from trainers.gan.feedback import DetectorFeedback, open_feedback
from trainers.gan.layers import resized
from trainers.gan.recording import RecordedUpdate
from trainers.gan.sampling import noise, sample, unit
from trainers.gan.schedule import phase_at
from trainers.gan.source import write_source
from trainers.gan.step import STATISTICS, update
from trainers.gan.workers import average, check_equal, check_group, from_first
from trainers.weights import read_saved

REPORTS = 100
SNAPSHOTS = 8
EXAMPLES = 8


def train_gan(config: GANConfig, slices: SliceSet, out: Path, context: Context, detector: Path | None = None) -> None:
    """Train a GAN, or continue from the newest checkpoint of the context, and write it into the existing folder `out`.

    Written by rank 0 at the end: `generator.pt` (state dict of the averaged generator), `config.json`, `history.jsonl`
    (one report per line), `source.json` (what it learnt from) and `figures/*.png`. The result depends on the config and
    the slices alone, whether or not the run was interrupted (bit for bit on one CPU worker), and not on the number of
    workers but for the order of sums.

    Args:
        slices: prepared at `config.resolution`; only its training split is read.
        context: rank, device, progress and checkpoints; only rank 0's checkpoints are read.
        detector: for `cpggan+detector` the folder of a detector trained on real slices.

    Raises:
        TrainingError: the slice set, the detector or the workers do not fit the config, a checkpoint belongs to another
            config, the workers' networks became unequal, or too many gradients are not finite.
    """
    check_group(context.world_size)
    with arithmetic(config, context.device):
        _train(config, slices, out, context, detector)


def _train(config: GANConfig, slices: SliceSet, out: Path, context: Context, detector: Path | None) -> None:
    feedback = open_feedback(config, detector, context.device)
    data = TrainingSlices(config, slices, context.rank, context.world_size)
    state = TrainingState.initial(config, context.device)
    if context.device.type == "cuda":  # which the networks have initialised
        torch.cuda.reset_peak_memory_stats(context.device)
    folder = context.load_checkpoint() if context.rank == 0 else None
    payload = from_first(read_saved(folder / FILE, "a GAN") if folder else None, context.world_size)
    if payload is not None:
        state.restore(payload, folder or Path("the checkpoint of rank 0"))
    check_equal(state.networks, context.world_size)
    examples = data.examples(EXAMPLES)
    _run(state, data, examples, feedback, context)
    if context.rank == 0:
        _write(state, examples, out)
        write_source(out, slices, detector)


def _run(
    state: TrainingState, data: TrainingSlices, examples: Batch, feedback: DetectorFeedback | None, context: Context
) -> None:
    total = state.config.total_images
    checkpoints = total / (state.config.checkpoint_kimg * 1000)
    recent = _Recent(state.images, context)
    step = partial(update, state, feedback=feedback, context=context)
    if state.config.cuda_graph and context.device.type == "cuda" and context.world_size == 1:
        step = RecordedUpdate(state, feedback, context)
    while state.images < total:
        before = state.images
        recent.add(step(data.batch(before), data.share))
        state.images = before + state.config.batch_size
        finished = state.images >= total
        done = (before / total, state.images / total)
        keep = not finished and _passes(checkpoints, *done)
        if finished or keep or _passes(REPORTS, *done):
            _report(state, recent.means(state.images, len(data.share) / state.config.batch_size), context)
            recent = _Recent(state.images, context)
        if context.rank == 0 and (finished or _passes(SNAPSHOTS, *done)):
            state.snapshots.append(torch.from_numpy(_examples_made(state, examples.conditions)))
        if keep:
            check_equal(state.networks, context.world_size)
            context.save_checkpoint(state.save)
        elif not finished:
            context.stop_point(state.save)


class _Recent:
    """Statistics since the last report, summed on the device."""

    def __init__(self, images: int, context: Context) -> None:
        self._images = images
        self._started = time.perf_counter()
        self._context = context
        self._sums = torch.zeros(len(STATISTICS) + 1, device=context.device)

    def add(self, statistics: Tensor) -> None:
        finite = statistics.isfinite().all().view(1)
        self._sums += torch.where(finite, torch.cat([statistics, finite.float()]), 0.0)

    def means(self, images: int, share: float) -> dict[str, float]:
        sums = average(self._sums, share, self._context.world_size)
        metrics = dict(zip(STATISTICS, (sums[:-1] / sums[-1].clamp(min=1)).tolist(), strict=True))
        elapsed = time.perf_counter() - self._started
        return metrics | {"gan/sec_per_kimg": 1000 * elapsed / (images - self._images)}


def _passes(parts: float, before: float, after: float) -> bool:
    """Whether a step ends one of `parts` equal parts of the run."""
    return math.floor(before * parts) != math.floor(after * parts)


def _report(state: TrainingState, metrics: dict[str, float], context: Context) -> None:
    config, skipped = state.config, int(state.skipped)
    if skipped > config.nonfinite_limit:
        raise TrainingError(
            f"After {state.images} images {skipped} updates were skipped, as their loss or gradient was not finite; "
            f"gan.nonfinite_limit allows {config.nonfinite_limit}. Lower gan.learning_rate ({config.learning_rate}) "
            f"or lengthen gan.fade_kimg ({config.fade_kimg}); set gan.precision to fp32 if it is not."
        )
    phase = phase_at(config, state.images)
    metrics |= {"gan/resolution": float(phase.resolution), "gan/alpha": phase.alpha, "gan/skipped": float(skipped)}
    if config.augment != "none":
        metrics["gan/augment_probability"] = float(state.augment_probability)
    if not config.traits.needs_detector:
        del metrics["gan/detector_loss"]
    if context.device.type == "cuda":
        metrics["gan/peak_memory_gib"] = torch.cuda.max_memory_allocated(context.device) / 2**30
    state.history.append({"images": state.images, "time": time.time(), **metrics})
    context.progress(min(state.images, config.total_images), config.total_images, metrics)


def _examples_made(state: TrainingState, conditions: np.ndarray) -> np.ndarray:
    """The averaged generator's slices at `conditions`, with the same noise each time; both N x H x W uint8."""
    phase = phase_at(state.config, state.images)
    device = next(state.average.parameters()).device
    condition = resized(unit(conditions, device), phase.resolution)
    shape = state.average.latent_shape
    latents = np.stack([noise(state.config.seed, index, shape) for index in range(len(condition))])
    made = sample(state.average, condition, latents, phase)
    return np.kron(made, np.ones((1, *(2 * [state.config.resolution // phase.resolution])), dtype=np.uint8))


def _write(state: TrainingState, examples: Batch, out: Path) -> None:
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
    figures.contact_sheet(folder / "samples.png", rows, {"real": examples.boxes})
    moments = {f"{(row + 1) / len(made):.0%}": images for row, images in enumerate(made)}
    figures.contact_sheet(folder / "progress.png", moments, dict.fromkeys(moments, examples.boxes))
    figures.loss_curves(folder / "losses.png", state.history)
