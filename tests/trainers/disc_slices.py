"""A small slice set of bright discs on noise, and detector settings that train on it within seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import SliceSet, open_slice_set, write_slice_set
from trainers.detector.config import DetectorConfig
from trainers.distributed import Context, Placement

SIZE = 32


def make_slice_set(
    folder: Path, counts: Mapping[str, int], seed: int = 0, lesions: bool = True, synthetic: bool = False
) -> SliceSet:
    """`counts` slices of each split, one patient a split, a disc in each; one lesion-free slice more in each split.

    Args:
        synthetic: add the column that tells a synthetic slice set from a real one.
    """
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images, slices, boxes = [], [], []
    for split, count in counts.items():
        for z in range(count + 1):
            image = draw.integers(0, 60, (SIZE, SIZE))
            name = f"{split}-{seed}-{z}"
            if lesions and z < count:
                radius = draw.integers(2, 5)
                x, y = draw.integers(radius + 1, SIZE - radius - 1, 2)
                image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 230
                boxes.append((name, x - radius, y - radius, x + radius + 1, y + radius + 1))
            images.append(image.astype(np.uint8))
            kind = "tumour" if z < count else "normal"
            slices.append((name, f"patient-{split}", split, "scanner", kind, "volume", z, "tumour"))
    columns_of_slices = ["slice_id", "patient_id", "split", "scanner", "kind", "volume", "z", "subject_kind"]
    table = pd.DataFrame(slices, columns=columns_of_slices)
    write_slice_set(
        folder,
        np.stack(images),
        table.assign(image_index=range(len(table))) if synthetic else table,
        pd.DataFrame(boxes, columns=["slice_id", "x0", "y0", "x1", "y1"]),
        {},
    )
    return open_slice_set(folder)


def tiny_config(**changes: object) -> DetectorConfig:
    """The smallest network at the smallest resolution."""
    settings = {
        "width": 0.05, "depth": 0.1, "box_bins": 4, "train_size": 64, "validation_size": 64, "batch": 4, "steps": 6,
        "evaluate_every": 2, "warmup_steps": 2, "final_learning_rate": 1e-4, "ema_ramp_steps": 5, "ema_decay": 0.9,
        "initial_reach": 0.8, "initial_confidence": 0.01,
    }  # fmt: skip
    return DetectorConfig.model_validate({**settings, **changes})


class FolderContext(Context):
    """One rank of several; can die at a step, or be asked to stop. Only rank 0 may ask for the checkpoint."""

    def __init__(
        self,
        folder: Path,
        rank: int = 0,
        world_size: int = 1,
        dies_at: int | None = None,
        asked_to_stop: Callable[[], bool] = lambda: False,
        device: str = "cpu",
    ) -> None:
        placement = Placement(rank, world_size, torch.device(device))
        super().__init__(placement, FolderCheckpoints(folder), lambda *_: None, asked_to_stop)
        self.reports: list[tuple[int, int, dict[str, float]]] = []
        self._folder, self._dies_at = folder, dies_at

    def progress(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        self.reports.append((done, total, dict(metrics)))
        if self._dies_at == done:
            raise InterruptedError("killed by the test")

    def load_checkpoint(self) -> Path | None:
        assert self.rank == 0, "other nodes may not reach the checkpoint's disk"
        return self._folder if self._folder.is_dir() else None

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        if self.rank != 0:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        write(self._folder)
