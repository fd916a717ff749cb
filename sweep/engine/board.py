"""The board of a sweep: every stage reports its progress there, every trial asks there whether to stop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sweep.studies.progress import StageProgress, StageState

if TYPE_CHECKING:  # the board's process would import torch for nothing
    from sweep.plan import Trial
    from sweep.studies.outcome import StopReason

HEAD_NODE, DRIVER_SHARE = "node:__internal_head__", 0.001
"""A trial's driver function only waits: it holds a share of a resource that no worker needs, on the node least likely
to be taken away. With so much as a sliver of a CPU it could starve the workers that it waits for."""


class Board:
    """The newest progress of every stage by key, the trials that were handed out, and which of them are to stop."""

    def __init__(self) -> None:
        self._stages: dict[str, StageProgress] = {}
        self._trials: dict[str, bytes] = {}
        self._stops: dict[str, StopReason] = {}
        self._stop_all: StopReason | None = None
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

    def stop(self, name: str, reason: StopReason) -> None:
        """Ask a trial to end at its next stop point."""
        self._stops[name] = reason

    def stop_all(self, reason: StopReason) -> None:
        """Ask every trial to end."""
        self._stop_all = reason

    def stop_reason(self, name: str) -> StopReason | None:
        """Why a trial is to end, or None if it is not."""
        return self._stop_all or self._stops.get(name)

    def validated(self, key: str) -> dict[int, dict[str, float]]:
        """Work done -> figures on the validation split that the stage `key` reported there, with this driver."""
        return self._validated.get(key, {})

    def set_state(self, key: str, label: str, state: StageState) -> None:
        """A stage began to wait, to run, or ended; one trial's waiting does not hide that another runs the stage."""
        before = self._stages.get(key)
        if state == "waiting" and before is not None and before.state in {"running", "done"}:
            return
        self._stages[key] = replace(before, state=state, made_by="") if before else StageProgress(label, state)

    def wait_for(self, key: str, holder: str, silent_s: float) -> None:
        """A trial waits for the process that makes a stage; shown only if that process is no part of this launch."""
        if holder not in self._drivers:
            self._stages[key] = replace(self._stages[key], made_by=holder, silent_s=silent_s)

    def advance(self, key: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Progress of a running stage."""
        before = self._stages[key]
        first = before.first_report or (time.time(), done)
        self._stages[key] = replace(before, done=done, total=total, metrics=dict(metrics), first_report=first)
        figures = {name: value for name, value in metrics.items() if name.startswith("validation/")}
        if figures:
            self._validated.setdefault(key, {})[done] = figures

    def snapshot(self) -> dict[str, StageProgress]:
        """All stages, in the order they first appeared."""
        return dict(self._stages)


class BoardHandle:
    """The board as a launch, its trials and their workers see it: Ray carries each call to its actor. Picklable.

    Methods do what those of Board do. Those that answer wait for the answer; the others return at once.
    """

    def __init__(self, actor: Any, study: str) -> None:
        self._actor = actor
        self.study = study
        """Name of the study that the sweep runs."""

    @staticmethod
    def start(study: str) -> BoardHandle:
        """A new board: an actor that occupies nothing and sits on the head node, where drivers are."""
        import ray

        return BoardHandle(ray.remote(Board).options(num_cpus=0, resources={HEAD_NODE: DRIVER_SHARE}).remote(), study)

    def join(self, driver: str) -> None:
        self._actor.join.remote(driver)

    def hand_out(self, trial: Trial) -> None:
        """Keep a trial for whoever is to run it."""
        from ray import cloudpickle  # pyright: ignore[reportAttributeAccessIssue]

        self._actor.hand_out.remote(trial.name, cloudpickle.dumps(trial))  # pyright: ignore[reportPrivateImportUsage]

    def trial(self, name: str) -> Trial:
        """The trial of that name, which was handed out."""
        from ray import cloudpickle  # pyright: ignore[reportAttributeAccessIssue]

        return cloudpickle.loads(self._answer(self._actor.trial.remote(name)))

    def stop(self, name: str, reason: StopReason) -> None:
        self._actor.stop.remote(name, reason)

    def stop_all(self, reason: StopReason) -> None:
        self._actor.stop_all.remote(reason)

    def stop_reason(self, name: str) -> StopReason | None:
        return self._answer(self._actor.stop_reason.remote(name))

    def ask_stop_reason(self, name: str) -> Future[StopReason | None]:
        """`stop_reason` without waiting."""
        return self._actor.stop_reason.remote(name).future()

    def validated(self, key: str) -> dict[int, dict[str, float]]:
        return self._answer(self._actor.validated.remote(key))

    def set_state(self, key: str, label: str, state: StageState) -> None:
        self._actor.set_state.remote(key, label, state)

    def wait_for(self, key: str, holder: object, silent_s: float) -> None:
        self._actor.wait_for.remote(key, str(holder), silent_s)

    def advance(self, key: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        self._actor.advance.remote(key, done, total, dict(metrics))

    def snapshot(self) -> dict[str, StageProgress]:
        return self._answer(self._actor.snapshot.remote())

    @staticmethod
    def _answer(reference: Any) -> Any:
        import ray

        return ray.get(reference)


class AskedToStop:
    """Whether a trial is to stop: asks the board once in a while and never waits for its answer."""

    def __init__(self, board: BoardHandle, trial: str, every_seconds: float = 1.0) -> None:
        self._board, self._trial, self._every_seconds = board, trial, every_seconds
        self._answer: Future[StopReason | None] | None = None
        self._asked = 0.0
        self._stop = False

    def __call__(self) -> bool:
        if self._answer is None and time.monotonic() - self._asked >= self._every_seconds:
            self._asked = time.monotonic()
            self._answer = self._board.ask_stop_reason(self._trial)
        elif self._answer is not None and self._answer.done():
            self._stop = self._answer.result() is not None
            self._answer = None
        return self._stop
