"""How a trial ended."""

from __future__ import annotations

from typing import Literal

from trainers.config import Config

PRUNED, STOPPED_BY_HAND, INTERRUPTED, OVER_BUDGET, FAILED_FAST, TAKEN_OVER, DATABASE_LOST = (
    "pruned",
    "stopped by hand",
    "interrupted",
    "over budget",
    "another trial failed",
    "another launch has taken the study over",
    "Optuna's database was deleted or replaced",
)
"""Reasons for which a trial is asked to stop."""


class Outcome(Config):
    """The end of a trial that was handed out."""

    state: Literal["done", "failed", "stopped"]
    """`done`: its goals are in the store. `stopped`: it was asked to end, and left checkpoints to go on from."""
    reason: str | None = None
    """Why it failed or was stopped."""
