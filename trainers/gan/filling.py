"""Fills a shard with attempts at its images, whatever draws them: curation, resume, the folder of the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainers.data.conditions import box_contrast, visibility
from trainers.data.slice_set import SliceSet, write_slice_set
from trainers.distributed import Context
from trainers.exceptions import TrainingError
from trainers.gan.config import SynthesisConfig
from trainers.gan.curation import Attempt, Curation
from trainers.gan.pictures import draw_samples
from trainers.gan.review import Review
from trainers.gan.shard import Curated

Draw = Callable[[Sequence[tuple[int, int]], int], list[Attempt]]
"""Makes attempts, given by image and number, of which a call may hold as many as the second argument says."""

CHECKPOINT_SECONDS = 20.0


def fill_shard(
    draw: Draw,
    batch_size: int,
    slices: SliceSet,
    config: SynthesisConfig,
    shard: int,
    review: Review,
    origin: Mapping[str, Any],
    out: Path,
    context: Context,
) -> tuple[list[Attempt], list[Attempt]]:
    """Draw until every image of a shard is filled, and write the slice set and its samples into the folder `out`.

    Interrupted, the shard continues from the context's newest checkpoint to the same result, if `draw` depends on image
    and number alone.

    Args:
        batch_size: attempts in a call of `draw`.
        slices: the real slices; those of the training split with boxes are the yardstick of the curation.
        review: a human's decisions on this shard.
        origin: what `meta.json` records of where the slices come from; `source` names all that decides an attempt.

    Returns:
        The attempts that fill the images, and examples of those that the curation refused.

    Raises:
        TrainingError: no annotated training slice.
        ConfigError: the decisions are about the slices of another source.
    """
    review.check(origin["source"])
    real, annotations = annotated_slices(slices)
    threshold = float("-inf")
    if config.curate:
        threshold = float(np.quantile(visibility(real, annotations), config.threshold_quantile))
    curation = Curation(config.images(shard), threshold, config.max_attempts, review)
    _fill(curation, draw, batch_size, config, context)

    made = [curation.filled[image] for image in config.images(shard)]
    boxes = [attempt.boxes for attempt in made]
    images = np.stack([attempt.pixels for attempt in made])
    decisions = [attempt.decision for attempt in review.attempts]
    curated = Curated(
        threshold=threshold if config.curate else None,
        attempts=curation.attempts,
        discard_rate=curation.discard_rate,
        unclear=curation.unclear,
        kept_by_review=decisions.count("keep"),
        discarded_by_review=decisions.count("discard"),
    )
    meta = {
        **origin,
        "synthesis": config.model_dump(mode="json"),
        "first_image": made[0].image,
        "curation": asdict(curated),
        "box_contrast": float(np.nanmean(box_contrast(images, boxes))),
        "box_contrast_real": float(np.nanmean(box_contrast(real, annotations))),
    }
    write_slice_set(out, images, *_tables(made), meta)
    draw_samples(made, out / "figures")
    return made, curation.refused


def annotated_slices(slices: SliceSet) -> tuple[np.ndarray, list[np.ndarray]]:
    """The training slices with boxes, N x H x W, and their boxes; TrainingError without any."""
    boxes = slices.boxes_by_slice()
    rows = [row for row in slices.indices("train", "tumour") if len(boxes[row])]
    if not rows:
        raise TrainingError(f"{slices.path}: no slice of the training split has a box to draw conditions from.")
    return slices.images[rows], [boxes[row] for row in rows]


def _fill(curation: Curation, draw: Draw, batch_size: int, config: SynthesisConfig, context: Context) -> None:
    """Draw and judge until every image is filled, from the newest checkpoint if one exists."""
    checkpoint = context.load_checkpoint()
    if checkpoint is not None:
        curation.restore(checkpoint)
    saved = time.monotonic()
    while wanted := curation.next(batch_size):
        curation.judge(draw(wanted, batch_size))
        rates = {"gan/discard_rate": curation.discard_rate}
        context.progress(len(curation.filled), config.shard_size, rates)
        if time.monotonic() - saved >= CHECKPOINT_SECONDS:
            context.save_checkpoint(curation.save)
            saved = time.monotonic()


def _tables(made: Sequence[Attempt]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of slices and of boxes."""
    ids = [attempt.slice_id for attempt in made]
    frame = pd.DataFrame(
        {
            "slice_id": ids,
            "patient_id": "synthetic",
            "split": "train",
            "scanner": "synthetic",
            "kind": "tumour",
            "volume": "",
            "z": -1,
            "image_index": [attempt.image for attempt in made],
            "attempt": [attempt.number for attempt in made],
            "visibility": [attempt.visibility for attempt in made],
        }
    )
    corners = pd.DataFrame(np.concatenate([attempt.boxes for attempt in made]), columns=["x0", "y0", "x1", "y1"])
    corners.insert(0, "slice_id", np.repeat(ids, [len(attempt.boxes) for attempt in made]))
    return frame, corners
