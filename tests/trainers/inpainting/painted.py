"""Inpainters and shards of round brains, made within seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.trainers.gan.tiny_runs import Interruptible
from tests.trainers.pasting.brains import SYNTHESIS
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.gan.config import SynthesisConfig
from trainers.gan.review import Review
from trainers.inpainting.config import InpaintConfig
from trainers.inpainting.drawing import inpaint
from trainers.inpainting.training import train_inpainter


def tiny(**changes: Any) -> InpaintConfig:
    settings = {
        "window": 24, "rim": 2, "widths": (16, 16), "blocks": 1, "batch_size": 4, "learning_rate": 2e-3, "ema": 0.9,
        "total_kimg": 0.04, "sampling_steps": 2, "checkpoint_kimg": 0.012,
    }  # fmt: skip
    return InpaintConfig.model_validate(settings | changes)


def trained(slices: SliceSet, out: Path, context: Interruptible | None = None, **changes: Any) -> Path:
    """The folder of an inpainter."""
    out.mkdir(exist_ok=True)
    train_inpainter(tiny(**changes), slices, out, context or Interruptible(out.with_name(f"{out.name}-checkpoints")))
    return out


def painted(
    inpainter: Path,
    slices: SliceSet,
    out: Path,
    shard: int = 0,
    context: Interruptible | None = None,
    synthesis: SynthesisConfig = SYNTHESIS,
) -> SliceSet:
    """A shard."""
    context = context or Interruptible(out.with_name(f"{out.name}-checkpoints"))
    inpaint(inpainter, slices, synthesis, shard, Review(), out, context)
    return open_slice_set(out)


def losses(inpainter: Path) -> list[tuple[int, float]]:
    """Windows shown, and the loss, of every report."""
    reports = [json.loads(line) for line in (inpainter / "history.jsonl").read_text().splitlines()]
    return [(report["images"], report["inpainter/loss"]) for report in reports]
