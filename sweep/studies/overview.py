"""The state of a study and of every trial, from the store, the launch's status and Optuna's database; needs no Ray."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from search_spaces.study import Study
from sweep.objectives import Measured, objective_values, read_measured, undefined, violations
from sweep.plan import Plan, Trial
from sweep.plan.looks import Look
from sweep.store import Store
from sweep.studies.optuna_study import Drawn, left_to_draw
from sweep.studies.outcome import Outcome, StopReason
from sweep.studies.pace import seconds_left
from sweep.studies.progress import KEPT, StageProgress, watched_figure
from sweep.studies.records import Status, StudyRecord
from trainers.evaluation.collapse import collapse

State = Literal["running", "waiting", "failed", "stopped", "pruned", "done"]
STATES: tuple[State, ...] = ("running", "waiting", "failed", "stopped", "pruned", "done")
SILENT_AFTER_S = 15.0
"""A launch reports every 2 s; after so long without a report it counts as gone."""


@dataclass(frozen=True)
class TrialState:
    """The state of one trial."""

    trial: Trial
    state: State
    stage: str = ""
    """The stage that is being made for it, or waited for."""
    maker: str = ""
    """Who makes that stage if no trial of the launch does, e.g. `ws1, process 123 (last update 4 s ago)`."""
    share: float | None = None
    """Fraction of that stage that is done."""
    seconds_left: float | None = None
    """Of that stage."""
    reason: str | None = None
    """Why it failed or was stopped, or that its detector collapsed, in words."""
    value: float | None = None
    """The study's first objective: of the done trial, or of the best weights of the running detector so far; None if
    the trial has no such figure, or not yet."""
    last: float | None = None
    """Of a running detector, the same figure at its newest validation."""


@dataclass(frozen=True)
class Overview:
    """The state of a study."""

    study: Study
    trials: Sequence[TrialState]
    status: Status | None
    """The last report of the newest launch."""
    to_draw: int
    """Cells that the search has yet to draw."""
    best: tuple[str, float] | None
    """The best cell whose seeds are all done, by the first objective and within the constraints, and its mean."""
    seconds_left: float | None
    """Of the whole study, or up to the next look of a race, at the present pace; None if it cannot be estimated."""
    looks: Sequence[Look] = ()
    """Those of a race."""
    held_up_by: Sequence[Trial] = ()
    """Trials of a race that failed or were stopped, which its further looks need."""

    @property
    def numbers(self) -> Counter[State]:
        """State -> number of trials."""
        return Counter(trial.state for trial in self.trials)

    @property
    def launch(self) -> Literal["never", "alive", "ended", "gone"]:
        """Whether a launch is at work."""
        return launch_state(self.status)


def launch_state(status: Status | None) -> Literal["never", "alive", "ended", "gone"]:
    """Whether the launch that reported this status is at work; `gone`: killed, or its machine is away."""
    if status is None:
        return "never"
    if status.finished:
        return "ended"
    # A time in the future was written before the clock was set back.
    return "alive" if abs(time.time() - status.updated) <= SILENT_AFTER_S else "gone"


class Observer:
    """Observes a resolved study repeatedly; reads once what cannot change."""

    def __init__(self, study: Study, store: Store) -> None:
        self._study, self._store = study, store
        self._record = StudyRecord(store, study.name)
        self._measured: dict[str, Measured] = {}

    def look(self, plan: Plan, drawn: Sequence[Drawn] = ()) -> Overview:
        """The present state of the study; `plan` has the trials of the cells `drawn` so far."""
        status = self._record.status()
        outcomes = self._record.outcomes()
        done_keys = {name: self._store.keys(name) for name in plan.wanted}
        done = [trial for trial in plan.trials if all(goal.key in done_keys[goal.name] for goal in trial.goals)]
        unread = [trial for trial in done if trial.evaluate.key not in self._measured]
        self._measured |= read_measured(unread, self._study, self._store)
        ended: dict[int | None, Outcome | None] = {cell.number: _outcome_of(cell) for cell in drawn}
        progress = status.stages if status and launch_state(status) == "alive" else {}
        running = set(status.running) if status and progress else set()
        done_names = {trial.name for trial in done}
        states = [
            self._done(trial)
            if trial.name in done_names
            else self._under_way(trial, progress, done_keys)
            if trial.name in running
            else _at_rest(trial, outcomes.get(trial.name) or ended.get(trial.number))
            for trial in plan.trials
        ]
        to_draw = left_to_draw(self._study, drawn)
        ended_early = [state.trial for state in states if state.state in ("failed", "stopped", "pruned")]
        given_up = {key for trial in ended_early for key in (trial.evaluate.key, trial.evaluate.detector.key)}
        left = None if to_draw or not progress else seconds_left(plan, self._store, done_keys, progress, given_up)
        best = self._best(done, plan)
        return Overview(self._study, states, status, to_draw, best, left, plan.looks, plan.held_up_by)

    def _done(self, trial: Trial) -> TrialState:
        measured = self._measured.get(trial.evaluate.key)
        value = objective_values(self._study, [measured])[0] if measured else math.nan
        collapsed = collapse(measured.metrics) if measured else None
        reason = collapsed and f"its detector collapsed: {collapsed}"
        return TrialState(trial, "done", reason=reason, value=None if math.isnan(value) else value)

    def _under_way(
        self, trial: Trial, stages: Mapping[str, StageProgress], done_keys: Mapping[str, set[str]]
    ) -> TrialState:
        """Running, if the first missing stage of the trial runs; else waiting for that stage."""
        for key, stage in trial.stages.items():
            if key in done_keys[stage.name]:
                continue
            at = stages.get(key)
            if at is None or at.state != "running":
                return TrialState(trial, "waiting", at.label if at else stage.label, at.maker() if at else "")
            share = at.done / at.total if at.total else None
            objective = self._study.objectives[0]
            watched = watched_figure(objective.direction)
            figures = {} if objective.of_slices else at.metrics
            kept, last = figures.get(KEPT + watched), figures.get(watched)
            return TrialState(trial, "running", at.label, "", share, at.seconds_left(), value=kept, last=last)
        return TrialState(trial, "running")

    def _best(self, done: Sequence[Trial], plan: Plan) -> tuple[str, float] | None:
        cells: dict[str, list[Measured]] = defaultdict(list)
        for trial in done:
            if trial.evaluate.key in self._measured:
                cells[trial.cell].append(self._measured[trial.evaluate.key])
        whole = {cell: measured for cell, measured in cells.items() if len(measured) == len(plan.cells[cell])}
        return best_of(self._study, whole)


def best_of(study: Study, cells: Mapping[str, Sequence[Measured]]) -> tuple[str, float] | None:
    """The best of some cells by the first objective and within the constraints, and its mean over its seeds."""
    values = {
        cell: objective_values(study, measured)[0]
        for cell, measured in cells.items()
        if undefined(study, measured) is None and not any(value > 0 for value in violations(study, measured).values())
    }
    choose = max if study.objectives[0].direction == "maximize" else min
    best = choose(values, key=values.__getitem__, default=None)
    return None if best is None else (best, values[best])


def _at_rest(trial: Trial, outcome: Outcome | None) -> TrialState:
    if outcome is None:
        return TrialState(trial, "waiting")
    if outcome.reason == StopReason.PRUNED:
        return TrialState(trial, "pruned")
    return TrialState(trial, "failed" if outcome.state == "failed" else "stopped", reason=outcome.why)


def _outcome_of(drawn: Drawn) -> Outcome | None:
    """How a drawn cell ended according to Optuna; None unless it failed or was pruned."""
    if drawn.state == "PRUNED":
        return Outcome(state="stopped", reason=StopReason.PRUNED)
    return Outcome(state="failed", error=drawn.error) if drawn.state == "FAIL" else None
