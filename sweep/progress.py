"""Live progress of a sweep: every stage tells one board, the driver shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the board's process would import torch for nothing
    from sweep.stages import Stage
    from trainers.distributed import OnProgress


@dataclass(frozen=True)
class StageProgress:
    """How far one stage is."""

    label: str
    state: str
    """`waiting` (for resources), `running`, `done` or `failed`."""
    began: float
    """When the state began, unix seconds."""
    done: int = 0
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    resumed_at: int = 0
    """Work that was done already when this attempt first reported: a resumed run starts there."""

    def remaining_seconds(self, now: float) -> float | None:
        """Time left at the pace of this attempt, or None before the pace is known."""
        progressed = self.done - self.resumed_at
        if self.state != "running" or progressed <= 0 or not self.total:
            return None
        return (now - self.began) * (self.total - self.done) / progressed


class Board:
    """The newest progress of every stage by key; lives in one Ray actor."""

    def __init__(self) -> None:
        self._stages: dict[str, StageProgress] = {}

    def set_state(self, key: str, label: str, state: str) -> None:
        """A stage began to wait, to run, or ended; one trial's waiting does not hide that another runs the stage."""
        before = self._stages.get(key)
        if state == "waiting" and before is not None and before.state in {"running", "done"}:
            return
        self._stages[key] = StageProgress(label, state, time.time()) if before is None else replace(
            before, state=state, began=time.time()
        )

    def advance(self, key: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """A running stage got further."""
        before = self._stages[key]
        resumed_at = done if before.total == 0 and done < total else before.resumed_at
        self._stages[key] = replace(before, done=done, total=total, metrics=dict(metrics), resumed_at=resumed_at)

    def snapshot(self) -> dict[str, StageProgress]:
        """All stages, in the order they first appeared."""
        return dict(self._stages)


def reporter(board: Any, stage: Stage) -> OnProgress:
    """The progress function of a stage: a picklable function that sends to the board's actor without waiting."""
    return _Reporter(board.advance.remote, stage.key)


@dataclass(frozen=True)
class _Reporter:
    send: Callable[..., object]
    key: str

    def __call__(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        self.send(self.key, done, total, dict(metrics))
