"""Draws lesions of training slices, or discs of noise, into other training slices.

The ideas are those of TumorCP (Yang et al., MICCAI 2021: lesions moved between patients, with jitter of geometry and
intensity) and CarveMix (Zhang et al., MICCAI 2021: the lesion with its rim replaces the tissue at its new place).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from trainers.data.conditions import visibility
from trainers.data.slice_set import SliceSet
from trainers.detector.dataset import detector_rows
from trainers.distributed import Context
from trainers.gan.config import SynthesisConfig
from trainers.gan.curation import Attempt
from trainers.gan.filling import fill_shard
from trainers.gan.review import Review
from trainers.gan.source import META_KEY, GANSource
from trainers.pasting.config import PasteConfig
from trainers.pasting.lesions import Lesion
from trainers.pasting.membrane import membrane
from trainers.pasting.places import Place, brain_of, find_place, jittered

BATCH = 16


@dataclass(frozen=True)
class Host:
    """A training slice."""

    row: int
    """In the slice set."""
    image: np.ndarray
    """H x W uint8."""
    boxes: np.ndarray
    """n x 4 float32."""


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
    generator seeded with (seed, i, attempt). All variants draw at the same places. Of `synthesis` the fields of
    `ConditionConfig` and `batch_size` have no meaning here.

    Args:
        lesions: of the training split (`training_lesions`).
        slices: the slice set that the lesions were cut from; only the training split is read.
        review: a human's decisions on this shard (`review_of`).

    Raises:
        TrainingError: no annotated training slice.
        ConfigError: the decisions are about the slices of another source.
    """
    boxes = slices.boxes_by_slice()
    hosts = [Host(int(row), slices.images[row], boxes[row]) for row in detector_rows(slices, "train")]
    draw = partial(_attempts, hosts, lesions, config, synthesis.seed)
    origin = {
        "paste": config.model_dump(mode="json"),
        "source": _source(hosts, config, synthesis.seed),
        META_KEY: GANSource(slices=slices.fingerprint).model_dump(),
    }
    fill_shard(draw, BATCH, slices, synthesis, shard, review, origin, out, context)


def _source(hosts: Sequence[Host], config: PasteConfig, seed: int) -> str:
    """Names what decides the slice behind an attempt's id: the lesions, too, are cut from the hosts."""
    digest = hashlib.sha256(f"{config.model_dump_json()} {seed}".encode())
    for host in hosts:
        digest.update(host.image.tobytes() + host.boxes.tobytes() + b";")
    return f"{config.variant}-{digest.hexdigest()[:12]}"


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
    rng = np.random.default_rng([seed, 6, image, number])
    host = hosts[int(rng.integers(len(hosts)))]
    foreign = [lesion for lesion in lesions if lesion.row != host.row]
    places: list[Place] = []
    brain, boxes = brain_of(host.image), host.boxes
    for _ in range(int(rng.integers(1, config.most_lesions + 1))):
        lesion = jittered(foreign[int(rng.integers(len(foreign)))], config, rng)
        place = find_place(lesion, brain, boxes, rng)
        if place is not None:
            places.append(place)
            boxes = np.concatenate([boxes, place.box[None]])
    # All places come before what is drawn there, so that they do not depend on it.
    pixels = host.image.astype(np.float64)
    for place in places:
        DRAWINGS[config.traits.content](pixels, place, rng)
    drawn = np.clip(pixels.round(), 0, 255).astype(np.uint8)
    # A slice in which nothing found room is drawn again.
    score = float(visibility(drawn[None], [boxes])[0]) if places else 0.0
    return Attempt(image, number, drawn, boxes, score)


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
