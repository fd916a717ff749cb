"""Shards of ten images, drawn within a second."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.trainers.gan.tiny_runs import Interruptible
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.gan.config import SynthesisConfig
from trainers.gan.generator import load_generator
from trainers.gan.review import review_of
from trainers.gan.synthesis import synthesize

CONFIG = SynthesisConfig(shard_size=10, batch_size=4, seed=7)
STRICT = CONFIG.model_copy(update={"threshold_quantile": 0.5})


def shard(
    gan: Path,
    slices: SliceSet,
    config: SynthesisConfig,
    number: int,
    out: Path,
    context: Interruptible | None = None,
) -> SliceSet:
    context = context or Interruptible(out.with_suffix(".checkpoints"))
    variant = load_generator(gan, torch.device("cpu")).config.variant
    synthesize(gan, slices, config, number, review_of(config, variant, number), out, context)
    assert context.reports[-1][:2] == (config.shard_size, config.shard_size)
    return open_slice_set(out)


def changed(config: SynthesisConfig, **changes: object) -> SynthesisConfig:
    return config.model_copy(update=changes)
