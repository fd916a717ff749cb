"""Which trial of a study is promoted: the best by the study's objectives on validation. The test split has no say.

A table of test figures is worth something only as long as nothing is chosen by it. So there is no way to choose by the
test split, and a trial that a person names must be the best by validation too, unless they force it and say why: they
may have read its name in the test table.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from search_spaces.schema import Study
from search_spaces.search import Constraint, Objective
from sweep.objectives import figure, read_metrics
from sweep.plan import Plan, Trial
from sweep.report.section import measured_texts
from sweep.store import Artifact, Store
from sweep.studies.outcome import StopReason
from sweep.studies.records import StudyRecord
from trainers.evaluation.arms import Arm
from trainers.evaluation.evaluate import read_outcomes
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.metrics_file import Summary
from trainers.exceptions import ConfigError, StoreError

IOU, IOU_NAME = 0.5, "iou50"


@dataclass(frozen=True)
class Ranked:
    """A trial and its figures on the validation split."""

    trial: Trial
    study: Study
    metrics: Mapping[str, Summary]
    """IoU name -> figures (`summary.summarise`)."""
    evaluation: Artifact
    """Where they are from."""

    @cached_property
    def measured(self) -> Arm:
        """What its detector alone found, at IoU 0.5: the intervals are over patients."""
        outcome = read_outcomes(self.evaluation.path, "validation", (IOU,))[IOU]
        return Arm({self.trial.seed: outcome}, self.trial.evaluate.config)

    @property
    def figures(self) -> Summary:
        """At IoU 0.5."""
        return self.metrics[IOU_NAME]

    @property
    def sensitivity(self) -> float:
        """Over all lesions, at IoU 0.5."""
        return self.figures["sensitivity"]

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
        """Sensitivity of the same detections on shuffled boxes; None of a single slice."""
        chance = self.figures["chance"]
        return chance and chance["sensitivity"]

    def value(self, of: Objective | Constraint) -> float:
        """The figure that an objective or a constraint of the study is about; NaN where it is not defined."""
        return figure(of, self.metrics)

    @property
    def comparable(self) -> bool:
        """Whether every objective of the study is defined."""
        return not any(math.isnan(self.value(one)) for one in self.study.objectives)

    @property
    def order(self) -> tuple[float, ...]:
        """Smaller is better: within the constraints, then by each objective in turn, then by fewer false positives.

        Equal for trials that validation does not tell apart.
        """
        beyond = sum(_beyond(one.violation(self.value(one))) for one in self.study.constraints)
        signed = ((-1 if one.direction == "maximize" else 1) * self.value(one) for one in self.study.objectives)
        return beyond, *signed, self.fps_per_slice

    def text(self) -> str:
        """The figures of Table 1 with their intervals, the same that the report shows of a single seed."""
        own = self.measured
        figures = ", ".join(
            f"{measure.title} {text}" for measure, text in zip(TABLE1, measured_texts(own), strict=True)
        )
        patients = f"{own.patients_with_lesions} patient{'' if own.patients_with_lesions == 1 else 's'} with lesions"
        return f"{figures} (95 % intervals over {patients}, for this trained detector alone)"


def ranking(plan: Plan, store: Store, given_up: Collection[int] = (), study: str | None = None) -> list[Ranked]:
    """What may be promoted, best first: by the study's constraints and objectives, then by fewer false positives.

    Where the study names none, that is by validation sensitivity at IoU 0.5. Trials that are equal in all stay in the
    study's order. Those of which an objective is not defined are left out, as the search leaves out such cells.

    Args:
        given_up: numbers of drawn cells that are left out: pruned, failed or stopped, so that nobody completes them.
        study: how commands name the study, if not by its name.

    Raises:
        StoreError: trials are missing, or none has every objective.
        ConfigError: the study does not evaluate at IoU 0.5.
    """
    trials = [trial for trial in plan.trials if trial.number not in given_up]
    _refuse_incomplete(trials, plan, store, study or plan.study.name)
    ranked = [one for one in (_ranked(trial, plan, store) for trial in trials) if one.comparable]
    if not ranked:
        raise StoreError(
            f"Study {plan.study.name}: of its {len(plan.trials)} trials none has every objective on the validation "
            f"split, so none is the best. `metsweep status {study or plan.study.name}` tells how they ended."
        )
    return sorted(ranked, key=lambda one: one.order)


def pick(ranked: list[Ranked], name: str | None, forced: bool) -> Ranked:
    """The trial to promote: the best, or the one that a person names.

    Raises:
        ConfigError: no such trial in the ranking, or one that is not the best by validation and is not forced.
    """
    best = ranked[0]
    if name is None:
        return best
    found = next((one for one in ranked if one.trial.name == name), None)
    if found is None:
        known = ", ".join(one.trial.name for one in ranked)
        raise ConfigError(f"--trial {name!r} is no trial of the study that has its figures; allowed: {known}.")
    if found.order != best.order and not forced:
        raise ConfigError(
            f"--trial {name!r} is not the best on the validation split: it has {found.text()}; "
            f"{best.trial.name!r} has {best.text()}. A trial picked by hand may have been picked by the test table, "
            "which then no longer tests anything. Allowed: no --trial, the best one's name, or --force with the "
            "reason, which the version keeps."
        )
    return found


def _beyond(violation: float) -> float:
    """How far a trial lies beyond a constraint: infinitely, if its figure is not defined."""
    return math.inf if math.isnan(violation) else max(0.0, violation)


def _refuse_incomplete(trials: Sequence[Trial], plan: Plan, store: Store, study: str) -> None:
    missing = [trial for trial in trials if store.find("evaluate", trial.evaluate.key) is None]
    if missing:
        raise StoreError(
            f"Study {plan.study.name}: {len(missing)} of {len(plan.trials)} trials are not in the store {store.local} "
            f"(first: {missing[0].name}); only a study in which nothing waits or runs is promoted. Run "
            f"{_completing(missing, plan, store, study)} first."
        )
    if IOU not in plan.study.evaluation.ious:
        raise ConfigError(
            f"Study {plan.study.name}: evaluation.ious is {list(plan.study.evaluation.ious)}; promotion compares at "
            f"IoU {IOU:g}, so it must hold {IOU:g}."
        )


def _completing(missing: Sequence[Trial], plan: Plan, store: Store, study: str) -> str:
    """The commands that make what is missing; a launch alone leaves aside what was stopped by hand."""
    launch = f"`metsweep launch {study}`"
    outcomes = StudyRecord(store, plan.study.name).outcomes()
    ended = {name for name, outcome in outcomes.items() if outcome.reason == StopReason.STOPPED_BY_HAND}
    stopped = dict.fromkeys(f'"{trial.cell}"' for trial in missing if trial.name in ended)
    return f"`metsweep retry {study} {' '.join(stopped)}` and {launch}" if stopped else launch


def _ranked(trial: Trial, plan: Plan, store: Store) -> Ranked:
    artifact = store.find("evaluate", trial.evaluate.key)
    assert artifact is not None, "incomplete studies are refused"
    return Ranked(trial, plan.study, read_metrics(artifact)["validation"], artifact)
