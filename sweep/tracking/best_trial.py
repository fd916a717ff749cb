"""The best trial so far, whose figures the parent run of a study shows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from search_spaces.study import Study
from sweep.objectives import evaluated, objective_values, undefined, violations
from sweep.plan import Trial
from sweep.store import Store
from sweep.tracking.compared import evaluation_figures
from sweep.tracking.run_content import Point
from sweep.tracking.run_writer import RunWriter, TrackedRun
from sweep.tracking.tags import BEST_RUN, BEST_TRIAL
from trainers.evaluation.metrics_file import Metrics


class BestTrial:
    """Compares the complete trials of a study; reads each evaluation once."""

    def __init__(self) -> None:
        self._orders: dict[str, tuple[float, ...]] = {}

    def of(self, trials: Sequence[Trial], study: Study, store: Store) -> Trial | None:
        """The best of complete trials by the study's constraints and objectives on validation.

        None if no trial has figures for all of them.
        """
        for trial in trials:
            if trial.evaluate.key not in self._orders:
                self._orders[trial.evaluate.key] = _order(study, evaluated(trial, store))
        defined = [trial for trial in trials if self._orders[trial.evaluate.key]]
        return min(defined, key=lambda trial: self._orders[trial.evaluate.key], default=None)


def show_best(
    writer: RunWriter, parent: TrackedRun, runs: Mapping[str, TrackedRun], best: Trial, complete: int, store: Store
) -> None:
    """Let the parent run show the figures of the best trial and name it, if that changed.

    Args:
        runs: evaluate key -> run of its trial.
        complete: how many evaluations are; the step of the figures.
    """
    run = runs[best.evaluate.key]
    if parent.tags.get(BEST_RUN) == run.id:
        return
    now = time.time()
    figures = evaluation_figures(evaluated(best, store))
    points = [Point(name, value, now, complete) for name, value in figures.items()]
    writer.add(parent, points, {BEST_TRIAL: best.name, BEST_RUN: run.id})


def _order(study: Study, metrics: Metrics) -> tuple[float, ...]:
    """Smaller is better: how far constraints are exceeded, then the objectives; empty if one of these is undefined."""
    if undefined(study, [metrics]) is not None:
        return ()
    exceeded = sum(max(0.0, violation) for violation in violations(study, [metrics]).values())
    values = zip(study.objectives, objective_values(study, [metrics]), strict=True)
    return exceeded, *((-value if aim.direction == "maximize" else value) for aim, value in values)
