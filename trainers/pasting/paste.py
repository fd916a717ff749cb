"""Draws lesions of training slices, or discs of noise, into other training slices.

The ideas are those of TumorCP (Yang et al., MICCAI 2021: lesions moved between patients, with jitter of geometry and
intensity) and CarveMix (Zhang et al., MICCAI 2021: the lesion with its rim replaces the tissue at its new place).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from trainers.data.slice_set import SliceSet
from trainers.distributed import Context
from trainers.gan.config import SynthesisConfig
from trainers.gan.curation import Attempt
from trainers.gan.filling import fill_shard
from trainers.gan.review import Review
from trainers.gan.source import META_KEY, GANSource
from trainers.pasting.config import PasteConfig
from trainers.pasting.hosts import Host, choose_places, hosts_of, source_name
from trainers.pasting.lesions import Lesion
from trainers.pasting.membrane import membrane
from trainers.pasting.places import Place

BATCH = 16


def paste(
    lesions: Sequence[Lesion],
    slices: SliceSet,
    config: PasteConfig,
    synthesis: SynthesisConfig,
    shard: int,
    review: Review,
    out: Path,
    context: Context,
) -> None:
    """Write shard number `shard` as a slice set into the folder `out`, in the form that `synthesize` gives it.

    A slice is a training slice with its own lesions and boxes, and one to `config.most_lesions` more. Image i depends
    on the lesions, the training slices, the configs and i alone; every random number of an attempt at it comes from a
    generator seeded with (seed, i, attempt). Attempt for attempt all variants draw at the same places. Of
    `synthesis` the fields of `ConditionConfig` and `batch_size` have no meaning here.

    Args:
        lesions: of the training split (`training_lesions`).
        slices: the slice set that the lesions were cut from; only the training split is read.
        review: a human's decisions on this shard (`review_of`).

    Raises:
        TrainingError: no annotated training slice.
        ConfigError: the decisions are about the slices of another source.
    """
    hosts = hosts_of(slices)
    draw = partial(_attempts, hosts, lesions, config, synthesis.seed)
    origin = {
        "paste": config.model_dump(mode="json"),
        "source": source_name(config, synthesis.seed, hosts),
        META_KEY: GANSource(slices=slices.fingerprint).model_dump(),
    }
    fill_shard(draw, BATCH, slices, synthesis, shard, review, origin, out, context)


def _attempts(
    hosts: Sequence[Host],
    lesions: Sequence[Lesion],
    config: PasteConfig,
    seed: int,
    wanted: Sequence[tuple[int, int]],
    _most: int,
) -> list[Attempt]:
    return [_attempt(hosts, lesions, config, seed, image, number) for image, number in wanted]


def _attempt(
    hosts: Sequence[Host], lesions: Sequence[Lesion], config: PasteConfig, seed: int, image: int, number: int
) -> Attempt:
    chosen = choose_places(hosts, lesions, config, seed, image, number)
    pixels = chosen.host.image.astype(np.float64)
    for place in chosen.places:
        DRAWINGS[config.traits.content](pixels, place, chosen.rng)
    drawn = np.clip(pixels.round(), 0, 255).astype(np.uint8)
    return Attempt(image, number, drawn, chosen.boxes, chosen.score(drawn))


def _draw_lesion(pixels: np.ndarray, place: Place, _: np.random.Generator) -> None:
    region = np.zeros(pixels.shape, dtype=bool)
    region[place.window] = place.lesion.extent
    pixels[region] = membrane(pixels, region) + place.lesion.contrast[place.lesion.extent]


def _draw_noise(pixels: np.ndarray, place: Place, rng: np.random.Generator) -> None:
    """A disc in the lesion's bounding box, of independent grey levels between the tissue's median and white."""
    window = pixels[place.window]
    height, width = window.shape
    rows, columns = (np.arange(height) + 0.5) / height * 2 - 1, (np.arange(width) + 0.5) / width * 2 - 1
    disc = np.hypot(rows[:, None], columns[None]) <= 1
    window[disc] = rng.uniform(np.median(window), 255, int(disc.sum()))


DRAWINGS: Mapping[Literal["lesion", "noise"], Callable[[np.ndarray, Place, np.random.Generator], None]] = {
    "lesion": _draw_lesion,
    "noise": _draw_noise,
}
"""Content of a variant -> draws it at a place into H x W float64 grey levels."""
