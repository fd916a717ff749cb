"""The board of a sweep: every stage tells it how far it is, every trial asks it whether to stop; one Ray actor."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sweep.studies.progress import StageProgress, clock

if TYPE_CHECKING:  # the board's process would import torch for nothing
    from sweep.stages import Stage
    from trainers.distributed import OnProgress


class Board:
    """The newest progress of every stage by key, the trials that were handed out, and which of them are to stop."""

    def __init__(self) -> None:
        self._stages: dict[str, StageProgress] = {}
        self._trials: dict[str, bytes] = {}
        self._stops: dict[str, str] = {}
        self._stop_all: str | None = None
        self._validated: dict[str, dict[int, dict[str, float]]] = {}
        self._drivers: set[str] = set()

    def join(self, driver: str) -> None:
        """A process that runs trials of this launch has begun."""
        self._drivers.add(driver)

    def hand_out(self, name: str, trial: bytes) -> None:
        """Keep a pickled trial for whoever is to run it; a stop of its former run does not concern it."""
        self._trials[name] = trial
        self._stops.pop(name, None)

    def trial(self, name: str) -> bytes:
        """The pickled trial of that name."""
        return self._trials[name]

    def stop(self, name: str, reason: str) -> None:
        """Ask a trial to end at its next stop point."""
        self._stops[name] = reason

    def stop_all(self, reason: str) -> None:
        """Ask every trial to end."""
        self._stop_all = reason

    def stop_reason(self, name: str) -> str | None:
        """Why a trial is to end, or None if it is not."""
        return self._stop_all or self._stops.get(name)

    def validated(self, key: str) -> dict[int, dict[str, float]]:
        """Work done -> figures on the validation split that the stage `key` reported there, with this driver."""
        return self._validated.get(key, {})

    def set_state(self, key: str, label: str, state: str) -> None:
        """A stage began to wait, to run, or ended; one trial's waiting does not hide that another runs the stage."""
        before = self._stages.get(key)
        if state == "waiting" and before is not None and before.state in {"running", "done"}:
            return
        self._stages[key] = replace(before, state=state, made_by="") if before else StageProgress(label, state)

    def wait_for(self, key: str, holder: str, silent_s: float) -> None:
        """A trial waits for the process that makes a stage; worth telling if that is none of ours."""
        if holder not in self._drivers:
            made_by = f"{holder}, which told last {clock(silent_s)} ago"
            self._stages[key] = replace(self._stages[key], made_by=made_by)

    def advance(self, key: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """A running stage got further."""
        before = self._stages[key]
        first = before.first_report or (time.time(), done)
        self._stages[key] = replace(before, done=done, total=total, metrics=dict(metrics), first_report=first)
        figures = {name: value for name, value in metrics.items() if name.startswith("validation/")}
        if figures:
            self._validated.setdefault(key, {})[done] = figures

    def snapshot(self) -> dict[str, StageProgress]:
        """All stages, in the order they first appeared."""
        return dict(self._stages)


def reporter(board: Any, stage: Stage) -> OnProgress:
    """The progress function of a stage: sends to the board's actor without waiting."""
    return lambda done, total, metrics: board.advance.remote(stage.key, done, total, dict(metrics))


class AskedToStop:
    """Whether a trial is to stop: asks the board once in a while and never waits for its answer."""

    def __init__(self, board: Any, trial: str, every_seconds: float = 1.0) -> None:
        self._board, self._trial, self._every_seconds = board, trial, every_seconds
        self._question: Any = None
        self._asked = 0.0
        self._stop = False

    def __call__(self) -> bool:
        import ray

        if self._question is None and time.monotonic() - self._asked >= self._every_seconds:
            self._asked = time.monotonic()
            self._question = self._board.stop_reason.remote(self._trial)
        elif self._question is not None and ray.wait([self._question], timeout=0)[0]:
            self._stop = ray.get(self._question) is not None
            self._question = None
        return self._stop
