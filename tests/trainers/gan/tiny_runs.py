"""A small slice set, settings that train on it within seconds, and a run that can be killed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import SliceSet, open_slice_set, write_slice_set
from trainers.distributed import Context, Placement
from trainers.gan.config import GANConfig

SIZE = 16


def make_slices(folder: Path, tumour: int = 24, normal: int = 8, split: str = "train") -> SliceSet:
    """Grey discs on black with a bright box in each tumour slice."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    images, rows, boxes = [], [], []
    for index in range(tumour + normal):
        radius = rng.uniform(0.35, 0.5) * SIZE
        image = np.where(np.hypot(x - SIZE / 2 + 0.5, y - SIZE / 2 + 0.5) < radius, rng.uniform(70, 110), 0)
        kind = "tumour" if index < tumour else "normal"
        if kind == "tumour":
            x0, y0 = rng.integers(3, 9, 2)
            image[y0 : y0 + 4, x0 : x0 + 4] = 230
            boxes.append({"slice_id": f"s{index}", "x0": x0, "y0": y0, "x1": x0 + 4, "y1": y0 + 4})
        images.append(image.astype(np.uint8))
        rows.append(
            {
                "slice_id": f"s{index}",
                "patient_id": f"p{index}",
                "split": split,
                "scanner": "a",
                "kind": kind,
                "volume": "v",
                "z": index,
            }
        )
    frame = pd.DataFrame(boxes, columns=["slice_id", "x0", "y0", "x1", "y1"])
    write_slice_set(folder, np.stack(images), pd.DataFrame(rows), frame, {})
    return open_slice_set(folder)


def tiny(**changes: object) -> GANConfig:
    settings: dict[str, object] = {
        "resolution": SIZE,
        "widths": (16, 16, 8),
        "unet_widths": (8, 8, 8, 8),
        "critic_widths": (8, 8, 8),
        "latent_size": 8,
        "batch_size": 8,
        "learning_rate": 2e-3,
        "ema": 0.9,
        "total_kimg": 0.2,
        "fade_kimg": 0.03,
        "stable_kimg": 0.03,
        "checkpoint_kimg": 0.05,
    }
    return GANConfig.model_validate(settings | changes)


class KilledError(Exception):
    pass


class Interruptible(Context):
    """Keeps checkpoints like a run in process; `kill_after` checkpoints it dies."""

    def __init__(
        self,
        folder: Path,
        kill_after: int | None = None,
        asked_to_stop: Callable[[], bool] = lambda: False,
        device: str = "cpu",
    ) -> None:
        self.reports: list[tuple[int, int, dict[str, float]]] = []
        alone = Placement(0, 1, torch.device(device))
        super().__init__(alone, FolderCheckpoints(folder), self._report, asked_to_stop)
        self._kill_after = kill_after
        self.kept = 0

    def _report(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        self.reports.append((done, total, dict(metrics)))

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        super().save_checkpoint(write)
        self.kept += 1
        if self.kept == self._kill_after:
            raise KilledError
