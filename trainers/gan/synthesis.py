"""Synthetic slices at conditions drawn from training annotation (paper section 2.2, "during testing")."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from trainers.data.conditions import (
    ConditionConfig,
    choose_annotation,
    conditioning_images,
    draw_condition,
    visibility,
)
from trainers.data.slice_set import SliceSet
from trainers.distributed import Context
from trainers.exceptions import TrainingError
from trainers.gan.config import SynthesisConfig
from trainers.gan.curation import Attempt
from trainers.gan.filling import annotated_slices, fill_shard
from trainers.gan.generator import TrainedGenerator, load_generator
from trainers.gan.pictures import draw_walks
from trainers.gan.review import Review
from trainers.gan.sampling import noise
from trainers.gan.source import META_KEY, check_slices, read_source

CPU_PIXELS, CPU_BATCH, GPU_BATCH = 4 * 256**2, 16, 128
"""Larger calls are slower on a CPU: features of more than 32 MB are fetched from the system anew at every layer."""


def synthesize(
    gan_dir: Path, slices: SliceSet, config: SynthesisConfig, shard: int, review: Review, out: Path, context: Context
) -> None:
    """Write shard number `shard` of a GAN's synthetic slices as a slice set into the folder `out`.

    The shard holds the images `shard * shard_size` to `(shard + 1) * shard_size - 1`. Image i depends on the GAN, the
    training annotation, the config and i alone: noise and boxes of an attempt at it come from a generator seeded with
    (seed, i, attempt), and every call of the network has the same shape, so that an image's grey levels do not depend
    on the images beside it. Interrupted, the shard continues from the context's newest checkpoint to the same result.

    Args:
        gan_dir: folder that `train_gan` wrote.
        slices: the slice set that the GAN was trained on; only the training split is read.
        review: a human's decisions on this shard (`review_of`).
        out: folder, made if needed. Extra columns in `slices.parquet`: `image_index`, `attempt` and `visibility`. In
            `meta.json`: `source`, which names GAN, annotation and seed; `learnt_from`, the fingerprints of the GAN's
            slice set and teacher (null for a GAN without that record); `curation`; `box_contrast` (grey levels, mean
            over the boxes) and `box_contrast_real` (the same for the training annotation). Pictures in `figures`.
        context: device, progress (images filled) and checkpoints.

    Raises:
        TrainingError: no trained GAN in `gan_dir`, another slice set or resolution, or no annotated training slice.
        ConfigError: the decisions are about the slices of another source.
    """
    generator = load_generator(gan_dir, context.device)
    learnt_from = read_source(gan_dir)
    if learnt_from is not None:
        check_slices(learnt_from, gan_dir, slices)
    if slices.size != generator.config.resolution:
        raise TrainingError(
            f"{slices.path}: slices are {slices.size} pixels wide, but the GAN makes {generator.config.resolution}; "
            "allowed: equal."
        )
    _, annotations = annotated_slices(slices)
    origin = {
        "gan": generator.config.model_dump(mode="json"),
        "source": _source(generator, annotations, config),
        META_KEY: learnt_from and learnt_from.model_dump(),
    }
    draw = _Drawing(generator, annotations, config)
    batch_size = _batch_size(config, generator)
    made, refused = fill_shard(draw, batch_size, slices, config, shard, review, origin, out, context)
    if shard == 0:
        draw_walks(generator, annotations, made, refused, config.seed, out / "figures")


def _source(generator: TrainedGenerator, annotations: Sequence[np.ndarray], config: SynthesisConfig) -> str:
    """Names what decides the slice behind an attempt's id."""
    drawing = config.model_dump_json(include={*ConditionConfig.model_fields, "seed"})
    digest = hashlib.sha256(f"{generator.fingerprint} {drawing}".encode())
    for boxes in annotations:
        digest.update(boxes.tobytes() + b";")
    return f"{generator.config.variant}-{digest.hexdigest()[:12]}"


def _batch_size(config: SynthesisConfig, generator: TrainedGenerator) -> int:
    fitting = min(CPU_BATCH, max(1, CPU_PIXELS // generator.config.resolution**2))
    return config.batch_size or (fitting if generator.device.type == "cpu" else GPU_BATCH)


class _Drawing:
    """Makes attempts in calls of the network; while a GPU is at one, the host draws what the next is likely to need."""

    def __init__(self, generator: TrainedGenerator, annotations: Sequence[np.ndarray], config: SynthesisConfig) -> None:
        self._generator, self._annotations, self._config = generator, annotations, config
        self._drawn = lru_cache(3 * _batch_size(config, generator))(self._draw)

    def __call__(self, wanted: Sequence[tuple[int, int]], batch_size: int) -> list[Attempt]:
        """Attempts, given by image and number, from one call that always has `batch_size` images."""
        size = self._generator.config.resolution
        boxes = [self._drawn(*attempt)[0] for attempt in wanted]
        conditions = np.zeros((batch_size, size, size), dtype=np.uint8)
        conditions[: len(wanted)] = conditioning_images(boxes, size)
        latents = np.zeros((batch_size, *self._generator.latent_shape), dtype=np.float32)
        for place, attempt in enumerate(wanted):
            latents[place] = self._drawn(*attempt)[1]
        finish = self._generator.start(conditions, latents)
        newest = max(image for image, _ in wanted)
        for image in range(newest + 1, newest + 1 + batch_size):
            self._drawn(image, 0)
        made = finish()[: len(wanted)]
        scores = visibility(made, boxes).tolist()
        return [
            Attempt(image, number, pixels, own, score)
            for (image, number), pixels, own, score in zip(wanted, made, boxes, scores, strict=True)
        ]

    def _draw(self, image: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and noise of an attempt."""
        config, generator = self._config, self._generator
        annotation, rng = choose_annotation(config.seed, image, number, len(self._annotations))
        boxes = draw_condition(self._annotations[annotation], generator.config.resolution, config, rng)
        return boxes, noise(config.seed, image, generator.latent_shape, number)
