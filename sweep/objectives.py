"""The objectives and constraints of a study in the evaluations of its trials: validation figures only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from search_spaces.search import AT_FPS, Constraint, Objective
from search_spaces.study import Study
from sweep.plan import Trial
from sweep.stages.evaluate import read_metrics
from sweep.store import Store
from trainers.evaluation.metrics_file import Metrics, Summary, rate
from trainers.evaluation.outcome import name_of


def evaluated(trial: Trial, store: Store) -> Metrics:
    """The figures of a trial whose evaluation is in the store."""
    artifact = store.find(trial.evaluate.name, trial.evaluate.key)
    assert artifact is not None, "the trial is done"
    return read_metrics(artifact)


def objective_values(study: Study, seeds: Sequence[Metrics]) -> list[float]:
    """The value of each objective, mean over the seeds of a cell; NaN where a figure is undefined."""
    return [mean(objective, seeds) for objective in study.objectives]


def violations(study: Study, seeds: Sequence[Metrics]) -> dict[str, float]:
    """Constraint -> how far the mean over the seeds exceeds its bound; 0 or less is within it."""
    return {_name(bounded): bounded.violation(mean(bounded, seeds)) for bounded in study.constraints}


def undefined(study: Study, seeds: Sequence[Metrics]) -> str | None:
    """The objective or bounded figure that is not a number, so that a cell has failed although it is evaluated."""
    for asked in (*study.objectives, *study.constraints):
        if math.isnan(mean(asked, seeds)):
            return _name(asked)
    return None


def not_a_number(figure: str) -> str:
    """The error of a cell with an `undefined` figure."""
    return f"{figure} is not a number."


def figure(asked: Objective | Constraint, validation: Mapping[str, Summary]) -> float:
    """The figure of an objective or a constraint in one evaluation; NaN where it is undefined.

    Args:
        validation: IoU name -> figures of the validation split.
    """
    figures, fps = validation[name_of(asked.iou)], AT_FPS.get(asked.metric)
    value = rate(figures, asked.metric) if fps is None else figures["at_fps_per_slice"][f"{fps}"]["sensitivity"]
    return math.nan if value is None else float(value)


def mean(asked: Objective | Constraint, seeds: Sequence[Metrics]) -> float:
    """`figure`, mean over the seeds of a cell."""
    return statistics.fmean(figure(asked, metrics["validation"]) for metrics in seeds)


def _name(asked: Objective | Constraint) -> str:
    return f"{asked.metric} at IoU {asked.iou:g}"
