"""What a detector run needs to continue as if it had never stopped.

The order of the slices and their augmentation derive from (seed, step, place in the batch), so no random state is kept;
weights, moving average and optimiser are kept in full precision (the library would keep half-precision averages only).
Mixed precision is bfloat16, which has float32's range: no gradient scaler has a state to keep.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trainers.exceptions import TrainingError
from trainers.weights import load_saved, read_saved

FILE = "detector.pt"


@dataclass
class Selection:
    """The best evaluation so far and its weights."""

    step: int
    sensitivity: float
    fps_per_slice: float
    weights: dict[str, torch.Tensor]

    def beaten_by(self, sensitivity: float, fps_per_slice: float) -> bool:
        """Whether a later evaluation is better: more sensitive, or as sensitive with no more false positives."""
        return (sensitivity, -fps_per_slice) >= (self.sensitivity, -self.fps_per_slice)


@dataclass
class RunState:
    """State of a run after `step` optimiser steps."""

    identity: str
    """Names the config and the number of slices of each kind; a checkpoint of another identity is refused.
    That the slices are the same ones is not checked: the context guarantees that the folder belongs to this run."""
    step: int = 0
    model: dict[str, torch.Tensor] = field(default_factory=dict)
    ema: dict[str, torch.Tensor] = field(default_factory=dict)
    ema_updates: int = 0
    optimizer: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: Selection | None = None


def save_state(folder: Path, state: RunState) -> None:
    """Write `state` into `folder`."""
    best = state.best and vars(state.best)
    torch.save({**vars(state), "best": best}, folder / FILE)


def load_state(folder: Path, identity: str) -> RunState:
    """Read what `save_state` wrote.

    Raises:
        TrainingError: the checkpoint is broken, or has another identity, i.e. belongs to another config or other
            numbers of slices.
    """
    file = folder / FILE
    saved = load_saved(read_saved(file, "a detector"), file, torch.device("cpu"))
    if saved["identity"] != identity:
        raise TrainingError(
            f"The checkpoint in {folder} belongs to another run, made with\n  {saved['identity']}\nand this run is\n  "
            f"{identity}\nChoose another run name or remove the checkpoint."
        )
    best = saved.pop("best")
    return RunState(**saved, best=Selection(**best) if best else None)
