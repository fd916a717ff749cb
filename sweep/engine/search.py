"""Decides what Ray Tune runs next: the trials that are waiting, then cells that Optuna draws or seeds of a race."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from sweep.engine.board import BoardHandle
from sweep.objectives import measured_seeds, not_a_number, objective_values, undefined, violations
from sweep.plan import Plan, Trial, TrialMaker
from sweep.plan.racing import race
from sweep.store import Store
from sweep.studies.arms import record_arm
from sweep.studies.drawing import Drawing, DrawnCell
from sweep.studies.optuna_study import ERROR, RETRY_OF, create_optuna_study, plan_drawn
from sweep.studies.outcome import Outcome, StopReason

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

S = TypeVar("S", bound="StudySearch")
P = ParamSpec("P")
R = TypeVar("R")
OnEnd = Callable[[Trial, Outcome], None]
"""Called when a trial ended, whatever its outcome."""


def _alone(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Ray Tune's thread and the thread that carries out requests change the search one after the other."""

    @functools.wraps(method)
    def alone(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return method(self, *args, **kwargs)

    return alone


@dataclass(eq=False)
class StudySearch(Searcher):
    """Hands trials to Ray Tune and reports to Optuna how their cells ended.

    Ray's own OptunaSearch, of which nothing would be left, reports a trial that was stopped early as complete, leaves
    one whose objective is NaN running for ever, and forgets which trials were running when its process died. Here a
    cell ends COMPLETE with the mean over its seeds, PRUNED with its last value, or FAIL with the reason, and cells that
    a killed driver left RUNNING are resumed under the same number. In an ablation Optuna only keeps a record of the
    cells.
    """

    plan: Plan
    """The study's trials so far, those of cells drawn by now included."""
    maker: TrialMaker
    """Makes the trials of a cell that is drawn."""
    storage: BaseStorage
    """Optuna's database."""
    store: Store
    """Where evaluations are read from."""
    board: BoardHandle
    """Gets the trials to run and the requests to end them."""
    on_end: OnEnd
    """Called when a trial ended."""
    on_draw: Callable[[Plan], None]
    """Called with the plan when a cell joined it, before any work for the cell begins."""
    held: Callable[[], bool] = lambda: True
    """Whether this launch still holds the study; once it does not, no end of a trial is recorded."""

    def __post_init__(self) -> None:
        super().__init__()
        self._study = self.plan.study
        self._optuna = create_optuna_study(self._study, self.storage)
        self._drawing = Drawing(self._optuna, self._study, self.maker, self.storage)
        self._queue: deque[Trial] = deque()
        self._running: dict[str, Trial] = {}
        self._cells: dict[int, DrawnCell] = {}
        self._made: set[str] = set()
        self._given_up: set[str] = set()
        self._closed = False
        self._lock = threading.RLock()

    @_alone
    def wait_for(self, trials: Iterable[Trial]) -> None:
        """Add trials of the study's arms to those that are to be run."""
        self._queue.extend(trials)

    @_alone
    def take_up(self, trials: Iterable[Trial]) -> None:
        """Resume drawn cells that a former driver left running; close those that are no longer the study's."""
        taken_up = {trial.number: [] for trial in trials}
        for trial in trials:
            taken_up[trial.number].append(trial)
        for left in self._optuna.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if left.number in taken_up:
                trial = optuna.Trial(self._optuna, left._trial_id)
                self._begin(DrawnCell(trial, taken_up[left.number]))
            else:
                self._optuna.tell(left.number, state=TrialState.FAIL)

    @_alone
    def give_up(self, names: Iterable[str]) -> None:
        """Race on without the arms of these trials."""
        self._given_up.update(names)

    @_alone
    def draw_again(self, number: int) -> None:
        """Let a failed cell be drawn once more, as a new Optuna trial with the same values."""
        failed = self._optuna.get_trials(deepcopy=False)[number]
        self._optuna.enqueue_trial(failed.params, user_attrs={RETRY_OF: number})

    def _named(self, names: Iterable[str]) -> list[Trial]:
        wanted = set(names)
        return [trial for trial in self.plan.trials if trial.name in wanted]

    def close(self) -> None:
        """Hand out no more trials; at once, also while the search waits for Optuna's database."""
        self._closed = True

    @property
    def running(self) -> list[Trial]:
        """Trials that Ray Tune runs; at once, as `close`."""
        return list(self._running.values())

    @_alone
    def stop(self, names: Iterable[str]) -> None:
        """End running trials, and do not begin waiting ones."""
        for trial in self._named(names):
            if trial in self.running:
                self.board.stop(trial.name, StopReason.STOPPED_BY_HAND)
            elif trial in self._queue:
                self._queue.remove(trial)
                self._end(trial, Outcome(state="stopped", reason=StopReason.STOPPED_BY_HAND))

    @_alone
    def retry(self, names: Iterable[str]) -> None:
        """Run failed or stopped trials again; a drawn cell is drawn again with the same values."""
        wanted = self._named(names)
        busy = {*self.running, *self._queue}
        self._queue.extend(trial for trial in wanted if trial.number is None and trial not in busy)
        self._given_up.difference_update(names)
        for number in {trial.number for trial in wanted if trial.number is not None} - set(self._cells):
            self.draw_again(number)

    @_alone
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The name of the next trial, None for "ask again later", or FINISHED."""
        trial = None if self._closed else self._next()
        if trial is None:
            return None if self._running and not self._closed else Searcher.FINISHED
        self.board.hand_out(trial)
        self._running[trial_id] = trial
        return {"trial": trial.name}

    @_alone
    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report to Optuna what the first seed of a drawn cell validated to, and end a cell that is to be pruned."""
        trial = self._running.get(trial_id)
        if trial is None or "validated" not in result or trial.number not in self._cells:
            return
        cell = self._cells[trial.number]
        if trial.seed != cell.trials[0].seed:
            return
        cell.optuna.report(result["validated"], result["step"])
        if cell.optuna.should_prune():
            for sibling in cell.trials:
                self.board.stop(sibling.name, StopReason.PRUNED)

    @_alone
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record how a trial ended, and report to Optuna when that ends its cell."""
        trial = self._running.pop(trial_id, None)
        if trial is None or not self.held():
            return
        if error or result is None or "state" not in result:
            outcome = Outcome(state="failed", error="Its driver process was lost in every attempt.")
        else:
            outcome = Outcome.model_validate({name: result.get(name) for name in Outcome.model_fields})
        self._end(trial, outcome)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search resumes from Optuna's database and the store, never from Tune's files."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, for the same reason: Tune would keep it in a file of its own."""
        return {}

    def _next(self) -> Trial | None:
        while not self._queue and self._drawing.left > 0 and self.held():
            cell = self._drawing.draw(self.plan)
            self.plan = Plan(self._study, (*self.plan.trials, *cell.trials))
            self.on_draw(self.plan)
            self._begin(cell)
        if self._study.search.races and not self._queue and not self._running and self.held():
            self._race_on()
        return self._queue.popleft() if self._queue else None

    def _race_on(self) -> None:
        """Look at the arms, and queue the next seeds of those that are not decided."""
        self.plan = race(plan_drawn(self.maker, self._study, ()), self.store, self._given_up)
        self.on_draw(self.plan)
        self._queue.extend(
            trial for trial in self.plan.trials if trial.name not in self._given_up and not self._is_done(trial)
        )

    def _begin(self, cell: DrawnCell) -> None:
        """Queue the trials of a cell that are not in the store; a cell that is evaluated already ends at once."""
        self._cells[cell.optuna.number] = cell
        waiting = [trial for trial in cell.trials if not self._is_done(trial)]
        self._queue.extend(waiting)
        if not waiting:
            self._complete(cell)

    def _is_done(self, trial: Trial) -> bool:
        """Asks the store once for what it has: each end of a trial looks at all seeds of its cell."""
        unseen = [goal for goal in trial.goals if goal.key not in self._made]
        self._made |= {goal.key for goal in unseen if self.store.find(goal.name, goal.key)}
        return self._made.issuperset(goal.key for goal in trial.goals)

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        self.on_end(trial, outcome)
        if trial.number is None:
            if outcome.state == "failed" or outcome.reason == StopReason.STOPPED_BY_HAND:
                self._given_up.add(trial.name)
            self._end_arm(trial, outcome)
            return
        cell = self._cells.get(trial.number)
        if cell is None:
            return
        if outcome.state == "done":
            if all(map(self._is_done, cell.trials)):
                self._complete(cell)
        elif outcome.state == "failed" or outcome.reason in (StopReason.PRUNED, StopReason.STOPPED_BY_HAND):
            self._abandon(cell, outcome)

    def _end_arm(self, trial: Trial, outcome: Outcome) -> None:
        """Record an arm of an ablation once all seeds are done, or when one fails."""
        trials = self.plan.cells[trial.cell]
        ended = outcome.state == "failed" or (outcome.state == "done" and all(map(self._is_done, trials)))
        if not ended or self._study.search.method != "ablation":
            return
        if error := record_arm(self._optuna, self._study, trials, self.store, outcome.error):
            self.on_end(trials[0], Outcome(state="failed", error=error))

    def _complete(self, cell: DrawnCell) -> None:
        measured = measured_seeds(cell.trials, self._study, self.store)
        if figure := undefined(self._study, measured):
            failed = Outcome(state="failed", error=not_a_number(figure))
            self.on_end(cell.trials[0], failed)
            self._abandon(cell, failed)
            return
        for name, value in violations(self._study, measured).items():
            cell.optuna.set_constraint(name, value)
        self._optuna.tell(cell.optuna, objective_values(self._study, measured))
        del self._cells[cell.optuna.number]

    def _abandon(self, cell: DrawnCell, outcome: Outcome) -> None:
        """End a cell of which a seed failed, was pruned or was stopped; its other seeds are not trained."""
        names = {trial.name for trial in cell.trials}
        self._queue = deque(trial for trial in self._queue if trial.name not in names)
        for trial in self._running.values():
            if trial.name in names:
                self.board.stop(trial.name, outcome.reason or StopReason.CELL_ENDED)
        if outcome.reason == StopReason.PRUNED:
            self._optuna.tell(cell.optuna, state=TrialState.PRUNED)
        else:
            cell.optuna.set_user_attr(ERROR, outcome.why)
            self._optuna.tell(cell.optuna, state=TrialState.FAIL)
        del self._cells[cell.optuna.number]
