"""Watches a launch from a thread: shows its progress, keeps its status, and ends trials on request."""

from __future__ import annotations

import logging
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from sweep.databases import DatabaseFile, ReplacedDatabaseError
from sweep.engine.board import BoardHandle
from sweep.engine.display import Display
from sweep.plan import Plan, Trial
from sweep.repeating import repeating
from sweep.store import Lease
from sweep.studies.costs import LaunchCosts
from sweep.studies.outcome import Outcome, StopReason
from sweep.studies.progress import StageProgress
from sweep.studies.records import Status, StudyRecord
from sweep.tracking.tracker import Tracker

if TYPE_CHECKING:
    from sweep.engine.search import StudySearch

logger = logging.getLogger(__name__)

KEPT = (StopReason.PRUNED, StopReason.STOPPED_BY_HAND)
"""Reasons that are recorded for a trial; a launch that ended early for another reason leaves its trials unmarked."""
STATUS_EVERY_SECONDS = 2.0
ENDING = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what `kill`, Slurm, Kubernetes and a stopped Ray job send."""

Observe = Callable[[Plan, Mapping[str, StageProgress]], None]


@dataclass(eq=False)
class Steering:
    """Ctrl-C, requests of other commands, budget and failures, for one launch."""

    record: StudyRecord
    """Where requests come from and status and outcomes go."""
    board: BoardHandle
    """Holds the progress of the stages; asks all trials to end."""
    display: Display
    """Draws the progress."""
    tracker: Tracker
    """Gets the plan as cells are drawn."""
    database: DatabaseFile
    """Optuna's; a search whose database is lost ends, as no other launch would find the cells that it draws."""
    lease: Lease
    """Of the study; once it is lost the launch ends and writes nothing more to the store: another launch does."""
    fail_fast: bool
    """Whether a failed trial ends the launch."""
    observers: Sequence[Observe] = ()
    """Each is called at every look with the plan and the progress of its stages by key."""
    every_seconds: float = 1.0

    def __post_init__(self) -> None:
        self.failed: dict[str, str] = {}
        """Trial name -> error."""
        self.stopped: StopReason | None = None
        """Why the launch was asked to end."""
        self._began, self._began_by_clock = time.monotonic(), time.time()
        self._status_kept = -STATUS_EVERY_SECONDS
        self._interrupted = False
        self._costs = LaunchCosts(self.record.store, self._began_by_clock)
        self._named: set[str] = set()

    @contextmanager
    def of(self, search: StudySearch) -> Iterator[None]:
        """Steer what `search` hands out while the block runs; only from the main thread."""
        before = {number: signal.signal(number, self._on_interrupt) for number in ENDING}
        self.display.start()
        try:
            with repeating(lambda: self._look(search), lambda: self.every_seconds):
                try:
                    yield
                finally:
                    for number, handler in before.items():
                        signal.signal(number, handler)
            self.display.follow(search.plan)
            self.display.show(self.board.snapshot())  # what ended since the last look
        finally:
            self.display.stop()
            if self.lease.check():
                self._keep_status(search, {}, finished=True)

    def trial_ended(self, trial: Trial, outcome: Outcome) -> None:
        """Record how a trial ended."""
        if outcome.state == "failed":
            self.failed[trial.name] = outcome.error or "no reason given"
            logger.error("trial failed", extra={"trial": trial.name, "error": outcome.error})
        elif outcome.state == "done":
            self.failed.pop(trial.name, None)
        if (outcome.state != "stopped" or outcome.reason in KEPT) and self.lease.check():
            self.record.keep_outcomes({trial.name: outcome})

    def _on_interrupt(self, signum: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def _look(self, search: StudySearch) -> None:
        if not self.lease.check():
            if self.stopped != StopReason.TAKEN_OVER:
                self.display.say("Another launch has taken this study over: training ends.")
                self._stop(search, StopReason.TAKEN_OVER)
            return
        self._end_without_database(search)
        plan = search.plan
        self.tracker.plan = plan
        self.display.follow(plan)
        stages = self.board.snapshot()
        self.display.show(stages)
        self._name_makers(stages)
        for observe in self.observers:
            observe(plan, stages)
        if time.monotonic() - self._status_kept >= STATUS_EVERY_SECONDS:
            self._keep_status(search, stages)
        for request in self.record.take_requests():
            if request.action == "stop":
                search.stop(request.trials)
            else:
                search.retry(request.trials)
        if self.stopped is None and (reason := self._reason_to_stop(search, stages)):
            if reason == StopReason.INTERRUPTED:
                self.display.say("Ctrl-C: training keeps a checkpoint and ends. Press Ctrl-C again to leave at once.")
            self._stop(search, reason)

    def _end_without_database(self, search: StudySearch) -> None:
        if not search.plan.study.search.draws or self.stopped == StopReason.DATABASE_LOST:
            return
        try:
            self.database.check()
        except ReplacedDatabaseError as error:
            self.display.say(f"{error} Training ends; the store keeps what is done.")
            self._stop(search, StopReason.DATABASE_LOST)

    def _stop(self, search: StudySearch, reason: StopReason) -> None:
        self.stopped = reason
        search.close()
        self.board.stop_all(reason)

    def _name_makers(self, stages: Mapping[str, StageProgress]) -> None:
        """Name each process outside this launch that its trials wait for, once."""
        for key, stage in stages.items():
            if stage.made_by and key not in self._named:
                self._named.add(key)
                self.display.say(f"Waiting for {stage.label}, which is made by {stage.maker()}.")

    def _reason_to_stop(self, search: StudySearch, stages: Mapping[str, StageProgress]) -> StopReason | None:
        budget = search.plan.study.budget
        if self._interrupted:
            return StopReason.INTERRUPTED
        if self.failed and self.fail_fast:
            return StopReason.FAILED_FAST
        if budget.wall_hours is not None and time.monotonic() - self._began > 3600 * budget.wall_hours:
            return StopReason.OVER_BUDGET
        if budget.gpu_hours is not None and self._gpu_seconds_used(search, stages) > 3600 * budget.gpu_hours:
            return StopReason.OVER_BUDGET
        return None

    def _gpu_seconds_used(self, search: StudySearch, stages: Mapping[str, StageProgress]) -> float:
        """By stages that this launch has made, and by running stages since their first report."""
        under_way = 0.0
        for key, stage in stages.items():
            if stage.state == "running" and stage.first_report and key in search.plan.stages:
                on = search.plan.stages[key].resources
                under_way += on.workers * on.gpus_per_worker * max(0.0, time.time() - stage.first_report[0])
        return sum(cost.gpu_seconds for cost in self._costs.look(search.plan, stages).values()) + under_way

    def _keep_status(self, search: StudySearch, stages: dict[str, StageProgress], finished: bool = False) -> None:
        self._status_kept = time.monotonic()
        self.record.keep_status(
            Status(
                updated=time.time(),
                began=self._began_by_clock,
                host=platform.node(),
                pid=os.getpid(),
                running=tuple(trial.name for trial in search.running),
                stages=stages,
                finished=finished,
            )
        )
