"""A cell of a sweep: what is trained once per seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainers.variants import Variant

TRAIN_PATIENTS = "prepare.train_patients"


@dataclass(frozen=True)
class Cell:
    """An arm with its hyperparameters."""

    variant: Variant
    """Where the synthetic slices come from; `none` is the real-only arm."""
    paper_count: int = 0
    """Synthetic slices, in the paper's scale; 0 without any."""
    params: tuple[tuple[str, Any], ...] = ()
    """(dotted key, value) of everything else that was drawn, sorted by key; in the cells of `arms` TRAIN_PATIENTS of a
    row with its own number, else nothing."""
