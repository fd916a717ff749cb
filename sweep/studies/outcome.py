"""How a trial ended."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import model_validator

from trainers.config import Config


class StopReason(StrEnum):
    """Why a trial, or a whole launch, is asked to stop."""

    PRUNED = "pruned"
    STOPPED_BY_HAND = "stopped_by_hand"
    CELL_ENDED = "cell_ended"
    INTERRUPTED = "interrupted"
    OVER_BUDGET = "over_budget"
    FAILED_FAST = "failed_fast"
    TAKEN_OVER = "taken_over"
    DATABASE_LOST = "database_lost"

    @property
    def text(self) -> str:
        """The reason in words."""
        return _TEXTS[self]

    @classmethod
    def _missing_(cls, value: object) -> StopReason | None:
        """Documents written before there were codes hold the words."""
        return next((reason for reason, text in _TEXTS.items() if text == value), None)


_TEXTS = {
    StopReason.PRUNED: "pruned",
    StopReason.STOPPED_BY_HAND: "stopped by hand",
    StopReason.CELL_ENDED: "its cell has ended",
    StopReason.INTERRUPTED: "interrupted",
    StopReason.OVER_BUDGET: "over budget",
    StopReason.FAILED_FAST: "another trial failed",
    StopReason.TAKEN_OVER: "another launch has taken the study over",
    StopReason.DATABASE_LOST: "Optuna's database was deleted or replaced",
}


class Outcome(Config):
    """The end of a trial that was handed out."""

    state: Literal["done", "failed", "stopped"]
    """`done`: its goals are in the store. `stopped`: it was asked to end, and left checkpoints to resume from."""
    reason: StopReason | None = None
    """Why a stopped trial was asked to end."""
    error: str | None = None
    """What went wrong with a failed trial, in words."""

    @property
    def why(self) -> str | None:
        """The reason or the error, in words."""
        return self.reason.text if self.reason else self.error

    @model_validator(mode="before")
    @classmethod
    def _with_error_apart(cls, values: Any) -> Any:
        """Documents written before there were codes hold the error of a failed trial as its reason."""
        if isinstance(values, dict) and values.get("state") == "failed" and values.get("reason"):
            return {"state": "failed", "error": values["reason"]}
        return values
