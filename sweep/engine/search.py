"""Decides what Ray Tune runs next: the trials that are waiting, then cells that Optuna draws."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray import cloudpickle  # pyright: ignore[reportAttributeAccessIssue]
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from sweep.engine.optuna_study import ARM, ERROR, RETRY_OF, counted, make_pruner, make_sampler
from sweep.engine.outcome import PRUNED, STOPPED_BY_HAND, Outcome
from sweep.objectives import Metrics, objective_values, read_metrics, violations
from sweep.plan import Plan, Trial, TrialMaker
from sweep.store import Store

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

Tell = Callable[[Trial, Outcome], None]
"""Called when a trial ended, however it ended."""


@dataclass
class _Drawn:
    """A drawn cell that is not told yet."""

    optuna: optuna.Trial
    trials: list[Trial]
    """One a seed; pruning looks at the first."""


class StudySearch(OptunaSearch):
    """Hands trials to Ray Tune and tells Optuna how their cells ended.

    Ray's own OptunaSearch tells a trial that was stopped early as complete, leaves one whose objective is NaN running
    for ever, and forgets which trials were running when its process died. Here a cell ends COMPLETE with the mean over
    its seeds, PRUNED with its last value, or FAIL with the reason, and cells that a killed driver left RUNNING are gone
    on with under the same number. In an ablation Optuna only keeps a record of the cells.

    Args:
        plan: the study's trials so far.
        maker: makes the trials of a cell that is drawn.
        storage: Optuna's database.
        store: where evaluations are read from.
        board: the sweep's board actor.
        tell: called when a trial ended.
    """

    def __init__(
        self, plan: Plan, maker: TrialMaker, storage: BaseStorage, store: Store, board: Any, tell: Tell
    ) -> None:
        study = plan.study
        super().__init__(
            lambda trial: dict(study.draw(trial).params),  # never called: `suggest` draws itself
            metric=[one.metric for one in study.objectives],
            mode=[one.direction.removesuffix("imize") for one in study.objectives],
            study_name=study.name,
            storage=storage,
        )
        self._plan, self._study = plan, study
        self._maker, self._store, self._board, self._tell = maker, store, board, tell
        self._optuna: optuna.Study = self._ot_study  # pyright: ignore[reportAttributeAccessIssue]
        self._optuna.pruner = make_pruner(study.search, study.detector.steps)
        self._queue: deque[Trial] = deque()
        self._running: dict[str, Trial] = {}
        self._cells: dict[int, _Drawn] = {}
        self._closed = False
        self._arms: dict[str, list[Trial]] = {}
        for trial in plan.trials:
            self._arms.setdefault(trial.cell, []).append(trial)

    def wait_for(self, trials: Iterable[Trial]) -> None:
        """Add trials of the study's arms to those that are to be run."""
        self._queue.extend(trials)

    def take_up(self, trials: Iterable[Trial]) -> None:
        """Go on with drawn cells that a former driver left running; close those that the study does not know."""
        import optuna

        known = {trial.number: [] for trial in trials}
        for trial in trials:
            known[trial.number].append(trial)
        for left in self._optuna.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            if left.number in known:
                trial = optuna.trial.Trial(self._optuna, left._trial_id)
                self._begin(_Drawn(trial, known[left.number]))
            else:
                self._optuna.tell(left.number, state=optuna.trial.TrialState.FAIL)

    def draw_again(self, number: int) -> None:
        """Let a cell that failed be drawn once more, as a new Optuna trial with the same values."""
        failed = self._optuna.get_trials(deepcopy=False)[number]
        self._optuna.enqueue_trial(failed.params, user_attrs={RETRY_OF: number})

    def _named(self, names: Iterable[str]) -> list[Trial]:
        wanted = set(names)
        return [trial for trial in self._plan.trials if trial.name in wanted]

    def close(self) -> None:
        """Hand out nothing more."""
        self._closed = True

    @property
    def plan(self) -> Plan:
        """The study's trials, those of cells drawn by now included."""
        return self._plan

    @property
    def running(self) -> list[Trial]:
        """Trials that Ray Tune runs."""
        return list(self._running.values())

    def stop(self, names: Iterable[str]) -> None:
        """End trials that run, and do not begin those that wait."""
        for trial in self._named(names):
            if trial in self.running:
                self._board.stop.remote(trial.name, STOPPED_BY_HAND)
            elif trial in self._queue:
                self._queue.remove(trial)
                self._end(trial, Outcome(state="stopped", reason=STOPPED_BY_HAND))

    def retry(self, names: Iterable[str]) -> None:
        """Run trials again that failed or were stopped; a drawn cell is drawn again with the same values."""
        wanted = self._named(names)
        busy = {*self.running, *self._queue}
        self._queue.extend(trial for trial in wanted if trial.number is None and trial not in busy)
        for number in {trial.number for trial in wanted if trial.number is not None} - set(self._cells):
            self.draw_again(number)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The name of the next trial, None for "ask again later", or FINISHED."""
        trial = None if self._closed else self._next()
        if trial is None:
            return None if self._running and not self._closed else Searcher.FINISHED
        self._board.hand_out.remote(trial.name, cloudpickle.dumps(trial))  # pyright: ignore[reportPrivateImportUsage]
        self._running[trial_id] = trial
        return {"trial": trial.name}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell Optuna what the first seed of a drawn cell validated to, and end the cell if it is to be pruned."""
        trial = self._running.get(trial_id)
        if trial is None or "validated" not in result or trial.number not in self._cells:
            return
        cell = self._cells[trial.number]
        if trial.seed != cell.trials[0].seed:
            return
        cell.optuna.report(result["validated"], result["step"])
        if cell.optuna.should_prune():
            for one in cell.trials:
                self._board.stop.remote(one.name, PRUNED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note how a trial ended, and tell Optuna when that ends its cell."""
        trial = self._running.pop(trial_id, None)
        if trial is None:
            return
        if error or result is None or "state" not in result:
            outcome = Outcome(state="failed", reason="Its driver was lost, again and again.")
        else:
            outcome = Outcome(state=result["state"], reason=result.get("reason"))
        self._end(trial, outcome)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search goes on from Optuna's database and the store, never from Tune's files."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, for the same reason: Tune would keep it in a file of its own."""
        return {}

    def _next(self) -> Trial | None:
        while not self._queue and self._left_to_draw() > 0:
            self._draw()
        return self._queue.popleft() if self._queue else None

    def _left_to_draw(self) -> int:
        """Cells that are to be drawn still."""
        return self._study.search.trials - len(counted(self._optuna)) if self._study.search.draws else 0

    def _draw(self) -> None:
        self._optuna.sampler = make_sampler(self._study.search, len(self._optuna.get_trials(deepcopy=False)))
        drawn = self._optuna.ask()
        trials = self._maker.trials(self._study.draw(drawn), drawn.number)
        self._plan = Plan(self._study, (*self._plan.trials, *trials))
        self._begin(_Drawn(drawn, trials))

    def _begin(self, cell: _Drawn) -> None:
        """Queue the trials of a cell that are not in the store; a cell whose figures are all there ends at once."""
        self._cells[cell.optuna.number] = cell
        waiting = [trial for trial in cell.trials if not self._is_done(trial)]
        self._queue.extend(waiting)
        if not waiting:
            self._complete(cell)

    def _is_done(self, trial: Trial) -> bool:
        return all(self._store.find(goal.name, goal.key) for goal in trial.goals)

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        self._tell(trial, outcome)
        if trial.number is None:
            if not self._study.search.draws:
                self._record_arm(self._arms[trial.cell], outcome)
            return
        cell = self._cells.get(trial.number)
        if cell is None:
            return
        if outcome.state == "done":
            if all(map(self._is_done, cell.trials)):
                self._complete(cell)
        elif outcome.state == "failed" or outcome.reason in (PRUNED, STOPPED_BY_HAND):
            self._abandon(cell, outcome)

    def _complete(self, cell: _Drawn) -> None:
        values = self._values(cell.trials)
        if isinstance(values, Outcome):
            self._abandon(cell, values)
            return
        for name, value in violations(self._study, [self._metrics(trial) for trial in cell.trials]).items():
            cell.optuna.set_constraint(name, value)
        self._optuna.tell(cell.optuna, values)
        del self._cells[cell.optuna.number]

    def _values(self, trials: Sequence[Trial]) -> list[float] | Outcome:
        """The objectives of a cell whose trials are done; if one is not a number, the failure, which it tells."""
        values = objective_values(self._study, [self._metrics(trial) for trial in trials])
        if not any(map(math.isnan, values)):
            return values
        failed = Outcome(state="failed", reason=f"An objective is not a number: {values}.")
        self._tell(trials[0], failed)
        return failed

    def _abandon(self, cell: _Drawn, outcome: Outcome) -> None:
        """End a cell of which a seed failed, was pruned or was stopped; its other seeds are not trained."""
        import optuna

        names = {trial.name for trial in cell.trials}
        self._queue = deque(trial for trial in self._queue if trial.name not in names)
        for trial in self._running.values():
            if trial.name in names:
                self._board.stop.remote(trial.name, outcome.reason or outcome.state)
        states = optuna.trial.TrialState
        if outcome.reason == PRUNED:
            self._optuna.tell(cell.optuna, state=states.PRUNED)
        else:
            cell.optuna.set_user_attr(ERROR, outcome.reason)
            self._optuna.tell(cell.optuna, state=states.FAIL)
        del self._cells[cell.optuna.number]

    def _record_arm(self, trials: Sequence[Trial], outcome: Outcome) -> None:
        """An arm of an ablation, as a trial of Optuna that has ended: once all seeds are done, or when one fails."""
        import optuna

        if outcome.state == "stopped" or (outcome.state == "done" and not all(map(self._is_done, trials))):
            return
        arms = list(dict.fromkeys(cell.variant for cell in self._study.cells()))
        counts = [self._study.synthetic_count(cell.count) for cell in self._study.cells()]
        values = outcome if outcome.state == "failed" else self._values(trials)
        failed = isinstance(values, Outcome)
        self._optuna.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
                values=None if failed else values,
                params={"variant": trials[0].variant, "count": trials[0].count},
                distributions={
                    "variant": optuna.distributions.CategoricalDistribution(arms),
                    "count": optuna.distributions.IntDistribution(0, max(counts)),
                },
                user_attrs={ARM: trials[0].arm, "seeds": len(trials)} | ({ERROR: values.reason} if failed else {}),
            )
        )

    def _metrics(self, trial: Trial) -> Metrics:
        artifact = self._store.find("evaluate", trial.evaluate.key)
        assert artifact is not None, "the trial is done"
        return read_metrics(artifact)
