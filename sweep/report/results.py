"""The results of a study so far, read from the store: arms and drawn cells with the figures of every seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from sweep.objectives import read_metrics
from sweep.plan import Plan, Trial
from sweep.plan.looks import last_looks
from sweep.report.machines import Made, machines_of
from sweep.store import Artifact, Store
from trainers.data.slice_set import Split
from trainers.evaluation.arms import Arm
from trainers.evaluation.collapse import collapse
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.metrics_file import Metrics, rate
from trainers.evaluation.outcome_files import TABLES, read_outcomes
from trainers.variants import REAL_ONLY


@dataclass(frozen=True)
class Row:
    """Trials that differ in their seed alone: an arm that the study enumerates, or a cell that its search drew."""

    trials: tuple[Trial, ...]
    """One per seed."""
    artifacts: Mapping[int, Artifact]
    """Seed -> evaluate artifact, of the trials that are complete."""

    @property
    def arm(self) -> str:
        """Name of the arm."""
        return self.trials[0].arm

    @property
    def name(self) -> str:
        """Name of the cell, which is unique to the row."""
        return self.trials[0].cell

    @property
    def number(self) -> int | None:
        """Number of a drawn cell."""
        return self.trials[0].number

    @property
    def complete(self) -> bool:
        """Whether every seed is evaluated."""
        return len(self.artifacts) == len(self.trials)

    @property
    def seeds(self) -> str:
        """`2/3`: complete seeds of all."""
        return f"{len(self.artifacts)}/{len(self.trials)}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Evaluate stage keys of its trials, by which store and MLflow hold them."""
        return tuple(trial.evaluate.key for trial in self.trials)

    @cached_property
    def results(self) -> tuple[Metrics, ...]:
        """Figures of the complete trials."""
        return tuple(map(read_metrics, self.artifacts.values()))

    @cached_property
    def collapsed(self) -> dict[int, str]:
        """Seed -> why, of the complete trials whose detectors collapsed."""
        reasons = {seed: collapse(result) for seed, result in zip(self.artifacts, self.results, strict=True)}
        return {seed: why for seed, why in reasons.items() if why}

    def values(self, split: Split, iou: str, name: str) -> list[float]:
        """A figure of every complete seed, e.g. `sensitivity`."""
        return [rate(result[split][iou], name) for result in self.results]

    def mean(self, split: Split, iou: str, name: str) -> float:
        """Mean of a figure over the complete seeds, at least one."""
        values = self.values(split, iou, name)
        return sum(values) / len(values)

    def outcomes(self, split: Split, config: EvaluationConfig) -> dict[float, Arm]:
        """IoU threshold -> outcomes of the complete seeds' detectors."""
        files = [f"{name}.parquet" for name in TABLES]
        read = {
            seed: read_outcomes(artifact.path_to_read(*files), split, config.ious)
            for seed, artifact in self.artifacts.items()
        }
        return {iou: Arm({seed: outcomes[iou] for seed, outcomes in read.items()}, config) for iou in config.ious}


@dataclass(frozen=True)
class Results:
    """All rows of a study."""

    plan: Plan
    rows: tuple[Row, ...]
    """In the study's order; those that a search drew come as they were first drawn."""
    machines: Mapping[str, set[Made]]
    """Arm -> stages of its complete trials and the machines that ran them."""
    made: Mapping[str, Artifact]
    """Stage key -> complete artifact, of all stages of the plan."""

    @cached_property
    def arms(self) -> tuple[Row, ...]:
        """The arms that the study enumerates."""
        return tuple(row for row in self.rows if row.number is None)

    @cached_property
    def drawn(self) -> tuple[Row, ...]:
        """The cells that a search drew."""
        return tuple(row for row in self.rows if row.number is not None)

    @cached_property
    def complete(self) -> tuple[Row, ...]:
        """Arms and drawn cells of which every seed is evaluated."""
        return tuple(row for row in self.rows if row.complete)

    @cached_property
    def baseline(self) -> Row | None:
        """The real-only arm, if the study enumerates it and it is complete."""
        return next((row for row in self.arms if row.arm == REAL_ONLY and row.complete), None)


def read_results(plan: Plan, store: Store) -> Results:
    """Look every trial up in the store; of drawn cells with the same values, which is one measurement, the first."""
    keys: dict[str, list[str]] = {}
    for key, stage in plan.stages.items():
        keys.setdefault(stage.name, []).append(key)
    made = {key: artifact for name in keys for key, artifact in store.find_all(name, keys[name]).items()}
    rows: dict[tuple[bool, tuple[str, ...]], Row] = {}
    looked_at = {arm: seeds for arm, (seeds, _) in last_looks(plan.looks).items()}
    if plan.looks:
        looked_at[REAL_ONLY] = plan.looks[-1].seeds
    for cell, planned in plan.cells.items():
        trials = planned[: looked_at.get(cell)]  # without those of a look that is yet to be taken
        by_seed = {trial.seed: made.get(trial.evaluate.key) for trial in trials}
        row = Row(trials, {seed: artifact for seed, artifact in by_seed.items() if artifact})
        rows.setdefault((row.number is None, row.keys), row)
    evaluated = {
        row.arm: [trial for trial in row.trials if trial.seed in row.artifacts]
        for row in rows.values()
        if row.number is None
    }
    return Results(plan, tuple(rows.values()), machines_of(evaluated, made), made)
