"""Draws lesions into real training slices with a trained inpainter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from trainers.data.slice_set import SliceSet
from trainers.distributed import Context
from trainers.gan.config import SynthesisConfig
from trainers.gan.curation import Attempt
from trainers.gan.filling import fill_shard
from trainers.gan.review import Review
from trainers.gan.source import META_KEY, GANSource, check_slices, read_source
from trainers.inpainting.inpainter import Inpainter, load_inpainter
from trainers.inpainting.windows import Windows, contrast_of, corner_for, fits, weights_of
from trainers.pasting.hosts import Chosen, Host, choose_places, hosts_of, source_name
from trainers.pasting.lesions import Lesion, read_lesions

BATCH = 16


def inpaint(
    folder: Path, slices: SliceSet, synthesis: SynthesisConfig, shard: int, review: Review, out: Path, context: Context
) -> None:
    """Write shard number `shard` as a slice set into the folder `out`, in the form that `synthesize` gives it.

    A slice is a training slice with its own lesions and boxes, and one to `most_lesions` more, at the places and of the
    sizes that the same attempt of `copy_paste` with equal settings gives its lesions, one drawn after the other.
    Neither other boxes nor the background change. Image i depends on the inpainter, the training slices, the configs
    and i alone: every random number of an attempt at it comes from a generator seeded with (seed, i, attempt), and
    every call of the network has the same shape. Of `synthesis` the fields of `ConditionConfig` and `batch_size` have
    no meaning here.

    Args:
        folder: that `train_inpainter` wrote.
        slices: the slice set that the inpainter was trained on; only the training split is read.
        review: a human's decisions on this shard (`review_of`).

    Raises:
        TrainingError: no inpainter in `folder`, or another slice set.
        ConfigError: the decisions are about the slices of another source.
    """
    inpainter = load_inpainter(folder, context.device)
    config = inpainter.config
    if (learnt_from := read_source(folder)) is not None:
        check_slices(learnt_from, folder, slices)
    hosts = hosts_of(slices)
    draw = partial(_attempts, inpainter, hosts, read_lesions(folder), synthesis.seed)
    origin = {
        "inpaint": config.model_dump(mode="json"),
        "source": source_name(config, synthesis.seed, hosts, inpainter.fingerprint),
        META_KEY: GANSource(slices=slices.fingerprint).model_dump(),
    }
    fill_shard(draw, BATCH, slices, synthesis, shard, review, origin, out, context)


def _attempts(
    inpainter: Inpainter,
    hosts: Sequence[Host],
    lesions: Sequence[Lesion],
    seed: int,
    wanted: Sequence[tuple[int, int]],
    most: int,
) -> list[Attempt]:
    """Make attempts, given by image and number, in calls of the network that always have `most` windows."""
    config = inpainter.config
    chosen = [choose_places(hosts, lesions, config, seed, image, number) for image, number in wanted]
    chosen = [
        Chosen(each.host, [place for place in each.places if fits(place.box, config)], each.rng) for each in chosen
    ]
    drawn = [each.host.image.copy() for each in chosen]
    # A lesion beside an earlier one of its slice is drawn with that one in sight.
    for turn in range(max(len(each.places) for each in chosen)):
        _draw(inpainter, drawn, chosen, turn, most)
    return [
        Attempt(image, number, pixels, each.boxes, each.score(pixels))
        for (image, number), pixels, each in zip(wanted, drawn, chosen, strict=True)
    ]


def _draw(inpainter: Inpainter, slices: Sequence[np.ndarray], chosen: Sequence[Chosen], turn: int, most: int) -> None:
    """Draw a lesion at place number `turn` into each of the slices that has one."""
    config = inpainter.config
    side = config.window
    images, weights, contrast, noise = (np.zeros((most, side, side), dtype) for dtype in (np.uint8, *3 * [np.float32]))
    views: dict[int, np.ndarray] = {}
    for number, (pixels, each) in enumerate(zip(slices, chosen, strict=True)):
        if turn < len(each.places):
            place = each.places[turn]
            corner = top, left = corner_for(place.box, len(pixels), side)
            window = np.s_[top : top + side, left : left + side]
            views[number] = pixels[window]
            images[number] = views[number]
            weights[number] = weights_of(place.box, corner, config) * each.free(place)[window]
            rows, columns = place.window
            contrast[number] = contrast_of(place.lesion, rows.start, columns.start, len(pixels))[window]
            noise[number] = each.rng.standard_normal((side, side), dtype=np.float32)
    made = inpainter.draw(Windows(images, weights, contrast), noise)
    for number, view in views.items():
        view[:] = made[number]
