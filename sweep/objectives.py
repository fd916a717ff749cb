"""The objectives and constraints of a study in what was measured of its trials.

Nothing is read of test patients but whether the detector that judges slices, one for all cells, has collapsed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from search_spaces.search import AT_FPS, Objective, SearchedFigure
from search_spaces.study import Study
from sweep.plan import Trial
from sweep.stages import EvaluateStage, RealismStage, Stage
from sweep.stages.evaluate import read_metrics
from sweep.stages.realism import read_slice_figures
from sweep.store import Store
from sweep.store.backend import READERS
from trainers.evaluation.metrics_file import Metrics, rate
from trainers.evaluation.outcome import name_of
from trainers.evaluation.realism.report import SyntheticFigures

COLLAPSED_JUDGE = (
    ": the detector that judges slices finds lesions of held-out patients no more often than boxes at random places"
)


@dataclass(frozen=True)
class Measured:
    """What was measured of a trial, or of one seed of a cell over all folds."""

    metrics: Metrics
    """Of the detector."""
    slices: Sequence[SyntheticFigures] = ()
    """Of its synthetic slices, one for each fold; none without such slices, or if the study does not need them."""


def results_of(trial: Trial, study: Study) -> tuple[Stage, ...]:
    """The stages that measure what a study's objectives and constraints are about."""
    return (trial.evaluate, trial.realism) if study.judges_slices and trial.realism else (trial.evaluate,)


def lacks_slices(trial: Trial, study: Study) -> bool:
    """Whether a study's objectives or constraints are about synthetic slices, which the trial has none of."""
    return study.judges_slices and trial.realism is None


def read_measured(trials: Iterable[Trial], study: Study, store: Store) -> dict[str, Measured]:
    """Evaluate key -> what was measured, of the trials whose results are in the store; each artifact is read once.

    An evaluation without figures counts as none.
    """
    results = {trial.evaluate.key: results_of(trial, study) for trial in trials}
    evaluated = store.find_all(EvaluateStage.name, results.keys()) if results else {}
    judging = {stage.key for stages in results.values() for stage in stages[1:]}
    judged = store.find_all(RealismStage.name, judging) if judging else {}
    with ThreadPoolExecutor(READERS) as pool:
        metrics = pool.map(read_metrics, evaluated.values())
        slices = pool.map(read_slice_figures, judged.values())
        metrics_of, slices_of = dict(zip(evaluated, metrics, strict=True)), dict(zip(judged, slices, strict=True))
    return {
        key: Measured(metrics_of[key], tuple(slices_of[stage.key] for stage in stages[1:]))
        for key, stages in results.items()
        if metrics_of.get(key) and all(stage.key in judged for stage in stages[1:])
    }


def measured_seeds(trials: Sequence[Trial], study: Study, store: Store) -> list[Measured]:
    """What was measured of each of some trials that are done."""
    measured = read_measured(trials, study, store)
    return [measured[trial.evaluate.key] for trial in trials]


def objective_values(study: Study, seeds: Sequence[Measured]) -> list[float]:
    """The value of each objective, mean over the seeds of a cell; NaN where a figure is undefined."""
    return [mean(objective, seeds) for objective in study.objectives]


def violations(study: Study, seeds: Sequence[Measured]) -> dict[str, float]:
    """Figure and bound -> how far the mean over the seeds exceeds the bound; 0 or less is within it.

    Two bounds of one figure are two entries.
    """
    return {
        f"{bounded.label} {bounded.bound}": bounded.violation(mean(bounded, seeds)) for bounded in study.constraints
    }


def undefined(study: Study, seeds: Sequence[Measured]) -> str | None:
    """The objective or bounded figure that is not a number, so that a cell has failed although it is evaluated."""
    return next((asked.label for asked in study.searched if math.isnan(mean(asked, seeds))), None)


def not_a_number(figure: str) -> str:
    """The error of a cell with an `undefined` figure."""
    return f"{figure} is not a number{COLLAPSED_JUDGE if figure.startswith('box_fidelity') else ''}."


def tried_in_turn(study: Study) -> tuple[Objective, ...]:
    """The objectives by which single trials are ranked, each deciding where those before it are equal.

    All detectors of a GAN have the same slices. Where every objective is about slices, the default objective, which is
    about the detector, decides between them.
    """
    own = study.objectives
    return (*own, Objective()) if all(objective.of_slices for objective in own) else own


def figure(asked: SearchedFigure, measured: Measured) -> float:
    """The figure of an objective or a constraint; NaN where it is undefined."""
    if asked.of_slices:
        return statistics.fmean(_of_slices(asked, one) for one in measured.slices) if measured.slices else math.nan
    figures, fps = measured.metrics["validation"][name_of(asked.iou)], AT_FPS.get(asked.metric)
    value = rate(figures, asked.metric) if fps is None else figures["at_fps_per_slice"][f"{fps}"]["sensitivity"]
    return math.nan if value is None else float(value)


def mean(asked: SearchedFigure, seeds: Sequence[Measured]) -> float:
    """`figure`, mean over the seeds of a cell."""
    return statistics.fmean(figure(asked, measured) for measured in seeds)


def _of_slices(asked: SearchedFigure, slices: SyntheticFigures) -> float:
    if asked.metric == "box_fidelity":
        fidelity = slices.box_fidelity[name_of(asked.iou)]
        return fidelity.conditioned.recall if fidelity.judged else math.nan
    return slices.sliced_wasserstein
