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
    done: int = 0
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    first_report: tuple[float, int] | None = None
    """Unix seconds and work done at this attempt's first report: the pace counts from there, a resumed run's too."""

    def time_left(self) -> str:
        """How long still at the pace of this attempt, e.g. `2:03 left`; empty before the pace is known."""
        if self.state != "running" or self.first_report is None or self.done >= self.total:
            return ""
        began, done_then = self.first_report
        progressed = self.done - done_then
        return f"{clock((time.time() - began) * (self.total - self.done) / progressed)} left" if progressed else ""

    def newest_figures(self) -> str:
        """The first three metrics, e.g. `loss=0.31`."""
        return " ".join(f"{name.rsplit('/', 1)[-1]}={value:.3g}" for name, value in list(self.metrics.items())[:3])


class Board:
    """The newest progress of every stage by key; lives in one Ray actor."""

    def __init__(self) -> None:
        self._stages: dict[str, StageProgress] = {}

    def set_state(self, key: str, label: str, state: str) -> None:
        """A stage began to wait, to run, or ended; one trial's waiting does not hide that another runs the stage."""
        before = self._stages.get(key)
        if state == "waiting" and before is not None and before.state in {"running", "done"}:
            return
        self._stages[key] = replace(before, state=state) if before else StageProgress(label, state)

    def advance(self, key: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """A running stage got further."""
        before = self._stages[key]
        first = before.first_report or (time.time(), done)
        self._stages[key] = replace(before, done=done, total=total, metrics=dict(metrics), first_report=first)

    def snapshot(self) -> dict[str, StageProgress]:
        """All stages, in the order they first appeared."""
        return dict(self._stages)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, e.g. `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def reporter(board: Any, stage: Stage) -> OnProgress:
    """The progress function of a stage: a picklable function that sends to the board's actor without waiting."""
    return _Reporter(board.advance.remote, stage.key)


@dataclass(frozen=True)
class _Reporter:
    send: Callable[..., object]
    key: str

    def __call__(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        self.send(self.key, done, total, dict(metrics))
