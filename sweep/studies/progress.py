"""How far the stages of a launch are."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from trainers.detector.history import FPS, KEPT, SENSITIVITY


@dataclass(frozen=True)
class StageProgress:
    """How far one stage is."""

    label: str
    state: str
    """`waiting` (for resources), `running`, `done`, `failed` or `stopped`."""
    done: int = 0
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    first_report: tuple[float, int] | None = None
    """Unix seconds and work done at this attempt's first report: the pace counts from there, a resumed run's too."""
    made_by: str = ""
    """Who makes it where that is no trial of this launch, e.g. `ws1, process 123, which told last 0:04 ago`."""

    def time_left(self) -> str:
        """How long still at the pace of this attempt, e.g. `2:03 left`; empty before the pace is known."""
        if self.state != "running" or self.first_report is None or self.done >= self.total:
            return ""
        began, done_then = self.first_report
        progressed = self.done - done_then
        return f"{clock((time.time() - began) * (self.total - self.done) / progressed)} left" if progressed else ""

    def with_finite_metrics(self) -> StageProgress:
        """The same without figures that are no number, which JSON cannot hold."""
        return replace(self, metrics={name: value for name, value in self.metrics.items() if math.isfinite(value)})

    def newest_figures(self) -> str:
        """The first three metrics, e.g. `loss=0.31`; where weights are kept, a detector's figures are theirs."""
        kept = {name.removeprefix(KEPT): value for name, value in self.metrics.items() if name.startswith(KEPT)}
        now = [(name, value) for name, value in self.metrics.items() if not name.startswith(KEPT) and name not in kept]
        figures = " ".join(f"{_short(name)}={value:.3g}" for name, value in now[: 1 if kept else 3])
        told = ", ".join(f"{_short(name)}={value:.3g}" for name, value in kept.items())
        return "  ".join(filter(None, (figures, told and f"kept weights: {told}")))


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, e.g. `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def watched_figure(direction: str) -> str:
    """What a detector's validations along the way are compared by; their confidence is the detector's own."""
    return SENSITIVITY if direction == "maximize" else FPS
