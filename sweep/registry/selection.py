"""Selects the trial to promote: the best by the study's objectives. The test split has no say.

Test figures are unbiased only as long as nothing is chosen by them. So no option chooses by the test split, and a trial
that a person names must be the best by validation too, unless they override this and give a reason: they may have taken
its name from the test table.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from search_spaces.schema import Study
from search_spaces.search import SearchedFigure
from sweep.objectives import Measured, figure, read_measured, tried_in_turn
from sweep.plan import Plan, Trial
from sweep.report.section import measured_texts
from sweep.stages import EvaluateStage
from sweep.store import Artifact, Store
from sweep.studies.outcome import StopReason
from sweep.studies.records import StudyRecord
from sweep.text import count_text
from sweep.tracking.tags import IOU
from trainers.evaluation.arms import Arm
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.metrics_file import Summary
from trainers.evaluation.outcome import name_of
from trainers.evaluation.outcome_files import read_outcomes
from trainers.exceptions import ConfigError, StoreError


@dataclass(frozen=True)
class Ranked:
    """A trial and its figures, of the detector those on the validation split."""

    trial: Trial
    study: Study
    results: Measured
    evaluation: Artifact
    """Of its detector."""

    @cached_property
    def measured(self) -> Arm:
        """The outcome of its detector, at IoU 0.5: the intervals are over patients."""
        outcome = read_outcomes(self.evaluation.path, "validation", (IOU,))[IOU]
        return Arm({self.trial.seed: outcome}, self.trial.evaluate.config)

    @property
    def figures(self) -> Summary:
        """At IoU 0.5."""
        return self.results.metrics["validation"][name_of(IOU)]

    @property
    def fps_per_slice(self) -> float:
        """Over all slices, at IoU 0.5."""
        return self.figures["fps_per_slice"]

    @property
    def detections(self) -> int:
        """Right and wrong ones, at IoU 0.5."""
        return self.figures["true_positives"] + self.figures["false_positives"]

    @property
    def by_chance(self) -> float | None:
        """Sensitivity of the same detections on shuffled boxes; None for a single slice."""
        chance = self.figures["chance"]
        return chance and chance["sensitivity"]

    def value(self, of: SearchedFigure) -> float:
        """The figure that an objective or a constraint of the study is about; NaN where it is not defined."""
        return figure(of, self.results)

    @property
    def comparable(self) -> bool:
        """Whether every objective of the study is defined."""
        return not any(math.isnan(self.value(objective)) for objective in tried_in_turn(self.study))

    @property
    def order(self) -> tuple[float, ...]:
        """Smaller is better: within the constraints, then by each of `tried_in_turn`, then by fewer false positives.

        Equal for trials that are equal in all of these.
        """
        beyond = sum(_beyond(bound.violation(self.value(bound))) for bound in self.study.constraints)
        signed = ((-1 if aim.direction == "maximize" else 1) * self.value(aim) for aim in tried_in_turn(self.study))
        return beyond, *signed, self.fps_per_slice

    @property
    def slices_text(self) -> str:
        """What the objectives are about in its synthetic slices, before `text`; empty if they are not."""
        return "".join(f"{aim.label} {self.value(aim):.4g}, " for aim in self.study.objectives if aim.of_slices)

    def text(self) -> str:
        """The figures of Table 1 with their intervals, the same that the report shows for a single seed."""
        own = self.measured
        figures = ", ".join(
            f"{measure.title} {text}" for measure, text in zip(TABLE1, measured_texts(own), strict=True)
        )
        patients = f"{count_text(own.patients_with_lesions, 'patient')} with lesions"
        return f"{figures} (95 % intervals over {patients}, for this trained detector alone)"


def ranking(plan: Plan, store: Store, given_up: Collection[int] = (), study: str | None = None) -> list[Ranked]:
    """The trials that may be promoted, best first: by constraints and objectives, then by fewer false positives.

    The default objective is validation sensitivity at IoU 0.5. Trials that are equal in all stay in the study's order.
    Trials with an undefined objective are left out, as the search leaves out such cells.

    Args:
        given_up: numbers of drawn cells that are left out: pruned, failed or stopped, so that they stay incomplete.
        study: how commands name the study, if not by its name.

    Raises:
        StoreError: trials are missing, or none has every objective.
        ConfigError: the study does not evaluate at IoU 0.5, or has folds.
    """
    if plan.study.folds is not None:
        raise ConfigError(
            f"Study {plan.study.name} has {plan.study.folds} folds: each detector was trained without one fold's "
            "patients and validated on another's, so none stands for its arm. Promote from a study without folds: "
            "launch the best arm with all other settings under another name (--set name=...)."
        )
    trials = [trial for trial in plan.trials if trial.number not in given_up]
    measured = read_measured(trials, plan.study, store)
    missing = [trial for trial in trials if trial.evaluate.key not in measured]
    _refuse_incomplete(missing, plan, store, study or plan.study.name)
    evaluations = store.find_all(EvaluateStage.name, measured)
    every = [
        Ranked(trial, plan.study, measured[key], evaluations[key])
        for trial in trials
        if (key := trial.evaluate.key) in evaluations
    ]
    ranked = [trial for trial in every if trial.comparable]
    if not ranked:
        raise StoreError(
            f"Study {plan.study.name}: no trial (of {len(plan.trials):,}) has every objective, so "
            f"none is the best. `metsweep status {study or plan.study.name}` shows how they ended."
        )
    return sorted(ranked, key=lambda trial: trial.order)


def pick(ranked: list[Ranked], name: str | None, forced: bool) -> Ranked:
    """The trial to promote: the best, or a named trial.

    Raises:
        ConfigError: the named trial is not in the ranking, or is neither the best by validation nor forced.
    """
    best = ranked[0]
    if name is None:
        return best
    named = next((trial for trial in ranked if trial.trial.name == name), None)
    if named is None:
        allowed = ", ".join(trial.trial.name for trial in ranked)
        raise ConfigError(f"--trial {name!r} is not a trial of the study with all figures; allowed: {allowed}.")
    if named.order != best.order and not forced:
        raise ConfigError(
            f"--trial {name!r} is not the best on the validation split: it has {named.slices_text}{named.text()}; "
            f"{best.trial.name!r} has {best.slices_text}{best.text()}. A trial picked by hand may have been picked by "
            "its test figures, which are then biased. Allowed: no --trial, the best trial's name, or --force with the "
            "reason, which the version keeps."
        )
    return named


def _beyond(violation: float) -> float:
    """How far a trial lies beyond a constraint: infinitely, if its figure is undefined."""
    return math.inf if math.isnan(violation) else max(0.0, violation)


def _refuse_incomplete(missing: Sequence[Trial], plan: Plan, store: Store, study: str) -> None:
    if missing:
        raise StoreError(
            f"Study {plan.study.name}: the store {store.local} lacks {len(missing):,} of "
            f"{count_text(len(plan.trials), 'trial')} (first: {missing[0].name}); a study is promoted once no trial "
            f"waits or runs. Run {_completing(missing, plan, store, study)} first."
        )
    if IOU not in plan.study.evaluation.ious:
        raise ConfigError(
            f"Study {plan.study.name}: evaluation.ious is {list(plan.study.evaluation.ious)}; promotion compares at "
            f"IoU {IOU:g}, so it must hold {IOU:g}."
        )


def _completing(missing: Sequence[Trial], plan: Plan, store: Store, study: str) -> str:
    """The commands that complete missing trials; a launch alone skips those that were stopped by hand."""
    launch = f"`metsweep launch {study}`"
    outcomes = StudyRecord(store, plan.study.name).outcomes()
    ended = {name for name, outcome in outcomes.items() if outcome.reason == StopReason.STOPPED_BY_HAND}
    stopped = dict.fromkeys(f'"{trial.cell}"' for trial in missing if trial.name in ended)
    return f"`metsweep retry {study} {' '.join(stopped)}` and {launch}" if stopped else launch
