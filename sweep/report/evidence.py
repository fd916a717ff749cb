"""What a report shows beyond the figures of each arm: outcomes, gains and their tests, FROC curves, chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from search_spaces.study import Study
from sweep import objectives
from sweep.report.results import Results, Row, partial_text
from sweep.report.section import covers, over
from sweep.store import Artifact
from trainers.evaluation.arms import Arm
from trainers.evaluation.comparison import Comparison, holm
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.metrics_file import Summary
from trainers.variants import REAL, REAL_ONLY

SPLIT = "test"


class Gain(NamedTuple):
    """Of one arm over another, usually the real-only arm."""

    plain: Comparison
    """In sensitivity, at the table's confidence."""
    p: float
    """Of `plain`, adjusted by Holm for all arms that are compared at this IoU threshold."""
    equal: Comparison
    """In sensitivity at equal false positives per slice."""
    equal_p: float
    """Of `equal`, adjusted likewise."""


@dataclass(frozen=True)
class Evidence:
    """The arms with figures of a study on the test split."""

    config: EvaluationConfig
    by_iou: dict[float, dict[str, Arm]]
    """IoU threshold -> arm -> its outcomes, in the study's order."""
    metrics: dict[str, list[dict[str, Summary]]]
    """Arm -> for each seed the figures by IoU name that its evaluate stage wrote (`summary.summarise`)."""
    keys: dict[str, tuple[str, ...]]
    """Arm -> keys of its evaluate stages."""
    slices: tuple[Artifact, ...]
    """The slice set that all arms were evaluated on, or those of all folds; nothing but pictures of slices, and numbers
    of training patients, are read from them."""
    chosen: str | None
    """The arm with synthetic slices that is best by the study's first objective, which is not about test patients."""
    planned: int
    """Seeds that the study has for each arm; 0 in a race, whose arms have as many as it takes."""
    folds: int | None
    """Of the study."""

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms."""
        return tuple(next(iter(self.by_iou.values())))

    @property
    def seeds(self) -> int:
        """Number of seeds of the first arm: of all arms, unless they race, each over seeds of its own."""
        return len(next(iter(next(iter(self.by_iou.values())).values())).outcomes)

    @property
    def over(self) -> str:
        """What its intervals take as drawn at random."""
        return over(self.seeds, self.folds)

    @property
    def covers(self) -> str:
        """What the intervals of a table cover."""
        return covers(self.seeds, self.folds)

    @property
    def mark(self) -> str:
        """As `Results.mark`."""
        return partial_text(self.seeds, self.planned)

    @property
    def baseline(self) -> dict[float, Arm] | None:
        """The real-only arm by IoU threshold, if it has figures."""
        return {iou: arms[REAL_ONLY] for iou, arms in self.by_iou.items()} if REAL_ONLY in self.arms else None

    @cached_property
    def gains(self) -> dict[float, dict[str, Gain]]:
        """`gains_over` the real-only arm; no arm if that has no figures."""
        return self.gains_over(REAL_ONLY) if self.baseline else {iou: {} for iou in self.by_iou}

    def gains_over(self, base: str) -> dict[float, dict[str, Gain]]:
        """IoU threshold -> arm -> gain, of every other arm that shares a seed with the arm `base`."""
        return {iou: _gains(arms, base) for iou, arms in self.by_iou.items()}


def build_evidence(results: Results) -> Evidence | None:
    """The evidence of a study's arms with figures, or None without any."""
    plan = results.plan
    measured = [row for row in results.arms if row.measured]
    if not measured:
        return None
    keys = dict.fromkeys(trial.evaluate.detector.slices.key for trial in measured[0].trials)
    prepared = tuple(results.made[key] for key in keys if key in results.made)
    if len(prepared) < len(keys):
        return None
    config = plan.study.evaluation
    outcomes = {row.arm: row.outcomes(SPLIT, config) for row in measured}
    return Evidence(
        config,
        by_iou={iou: {name: arms[iou] for name, arms in outcomes.items()} for iou in config.ious},
        metrics={row.arm: [result[SPLIT] for result in row.results] for row in measured},
        keys={row.arm: row.keys for row in measured},
        slices=prepared,
        chosen=_chosen(measured, plan.study),
        planned=0 if plan.study.search.races else len(plan.study.seeds),
        folds=plan.study.folds,
    )


def _chosen(measured: Sequence[Row], study: Study) -> str | None:
    aim = study.objectives[0]
    towards = 1 if aim.direction == "maximize" else -1
    synthetic = [row for row in measured if row.trials[0].variant not in REAL]
    values = {row.arm: towards * objectives.mean(aim, row.searched) for row in synthetic}
    defined = {arm: value for arm, value in values.items() if not math.isnan(value)}
    return max(defined, key=lambda arm: defined[arm], default=None)


def _gains(arms: Mapping[str, Arm], base: str) -> dict[str, Gain]:
    below = arms[base]
    pairs = {name: (arm.gain(below), arm.gain_at_equal_fps(below)) for name, arm in arms.items() if name != base}
    compared = {name: (plain, equal) for name, (plain, equal) in pairs.items() if plain and equal}
    plain_p, equal_p = ([*holm([pair[i].p for pair in compared.values()])] for i in range(2))
    return {
        name: Gain(plain, p, equal, at_equal)
        for (name, (plain, equal)), p, at_equal in zip(compared.items(), plain_p, equal_p, strict=True)
    }
