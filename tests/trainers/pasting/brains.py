"""Slices of a round brain with lesions, in all three splits, and a shard of pasted slices within a moment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.trainers.gan.tiny_runs import Interruptible
from trainers.data.slice_set import SliceSet, open_slice_set, write_slice_set
from trainers.gan.config import SynthesisConfig
from trainers.gan.review import Review
from trainers.pasting.config import PasteConfig
from trainers.pasting.lesions import training_lesions
from trainers.pasting.paste import paste

SIZE = 48
SPLITS: Mapping[str, int] = {"train": 10, "validation": 3, "test": 3}
SYNTHESIS = SynthesisConfig(shard_size=8, seed=3)


def make_brains(folder: Path, splits: Mapping[str, int] = SPLITS) -> SliceSet:
    """One patient per slice; a grey brain with some texture, and a lesion in a box that is two pixels wider."""
    y, x = np.mgrid[:SIZE, :SIZE]
    images, rows, boxes = [], [], []
    for split, count in splits.items():
        draw = np.random.default_rng(len(split))
        for number in range(count):
            image = np.where(np.hypot(x - SIZE / 2, y - SIZE / 2) < 20, 90 + 8 * draw.standard_normal((SIZE, SIZE)), 0)
            name, radius, (cx, cy) = f"{split}-{number}", int(draw.integers(2, 5)), draw.integers(17, 31, 2).tolist()
            image[np.hypot(x - cx, y - cy) <= radius] = draw.integers(170, 240)
            low, high = np.array([cx, cy]) - radius - 2, np.array([cx, cy]) + radius + 3
            boxes.append((name, *low.tolist(), *high.tolist()))
            rows.append((name, f"patient {name}", split, "scanner", "tumour", "volume", number))
            images.append(np.clip(image, 0, 255).astype(np.uint8))
    table = pd.DataFrame(rows, columns=["slice_id", "patient_id", "split", "scanner", "kind", "volume", "z"])
    write_slice_set(
        folder, np.stack(images), table, pd.DataFrame(boxes, columns=["slice_id", "x0", "y0", "x1", "y1"]), {}
    )
    return open_slice_set(folder)


def pasted(
    slices: SliceSet,
    out: Path,
    shard: int = 0,
    context: Interruptible | None = None,
    synthesis: SynthesisConfig = SYNTHESIS,
    **config: Any,
) -> SliceSet:
    """A shard; `config` holds values of PasteConfig."""
    context = context or Interruptible(out / "checkpoints")
    lesions = training_lesions(slices)
    paste(lesions, slices, PasteConfig.model_validate(config), synthesis, shard, Review(), out, context)
    return open_slice_set(out)
