"""Progress of the stages of a launch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import BeforeValidator

from trainers.detector.history import FPS, KEPT, SENSITIVITY

StageState = Annotated[
    Literal["waiting", "running", "done", "failed", "stopped", "damaged"],
    # Launches of older versions wrote "damaged, made again", and put how long ago after the maker.
    BeforeValidator(lambda state: str(state).partition(",")[0]),
]
"""`waiting` for resources; `damaged`: the artifact was set aside, and is to be made again."""


@dataclass(frozen=True)
class StageProgress:
    """Progress of one stage."""

    label: str
    state: StageState
    done: int = 0
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    first_report: tuple[float, int] | None = None
    """Unix seconds and work done at this attempt's first report: the pace counts from there, a resumed run's too."""
    made_by: Annotated[str, BeforeValidator(lambda maker: str(maker).partition(", which ")[0])] = ""
    """The process that makes the stage if no trial of this launch does, e.g. `ws1, process 123`."""
    silent_s: float = 0.0
    """Seconds since that process last renewed its lease."""

    def maker(self) -> str:
        """Who makes the stage, in words; empty if a trial of this launch does."""
        return f"{self.made_by} ({last_update(self.silent_s)})" if self.made_by else ""

    def seconds_left(self) -> float | None:
        """Time left at the pace of this attempt; None before the pace is known."""
        if self.state != "running" or self.first_report is None or self.done >= self.total:
            return None
        began, done_then = self.first_report
        progressed = self.done - done_then
        return (time.time() - began) * (self.total - self.done) / progressed if progressed else None

    def time_left(self) -> str:
        """`seconds_left` in words, e.g. `2:03 left`; empty if it is unknown."""
        seconds = self.seconds_left()
        return "" if seconds is None else f"{clock(seconds)} left"

    def with_finite_metrics(self) -> StageProgress:
        """The same without figures that are not finite, which JSON cannot hold."""
        if all(map(math.isfinite, self.metrics.values())):
            return self
        return replace(self, metrics={name: value for name, value in self.metrics.items() if math.isfinite(value)})

    def newest_figures(self) -> str:
        """The first three metrics, e.g. `loss=0.31`; once a detector keeps weights, its figures are theirs."""
        kept = {name.removeprefix(KEPT): value for name, value in self.metrics.items() if name.startswith(KEPT)}
        now = [(name, value) for name, value in self.metrics.items() if not name.startswith(KEPT) and name not in kept]
        figures = " ".join(f"{_short(name)}={value:.3g}" for name, value in now[: 1 if kept else 3])
        kept_text = ", ".join(f"{_short(name)}={value:.3g}" for name, value in kept.items())
        return "  ".join(filter(None, (figures, kept_text and f"kept weights: {kept_text}")))


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, e.g. `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def last_update(seconds: float) -> str:
    """How long ago a process reported, e.g. `last update 4 s ago`."""
    return f"last update {f'{seconds:.0f} s' if seconds < 60 else clock(seconds)} ago"


def watched_figure(direction: str) -> str:
    """The figure by which a detector's validations during training are compared, at the detector's own confidence."""
    return SENSITIVITY if direction == "maximize" else FPS
