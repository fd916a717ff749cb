"""The results of a study so far, read from the store: arms and drawn cells with the figures of every seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sweep.objectives import Measured
from sweep.plan import Plan, Trial
from sweep.plan.looks import last_looks
from sweep.report.machines import Made, machines_of
from sweep.stages.evaluate import read_metrics
from sweep.stages.realism import read_slice_figures
from sweep.store import Artifact, Store
from trainers.data.slice_set import Split
from trainers.evaluation.arms import Arm
from trainers.evaluation.collapse import collapse
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.folds import pool_metrics, pool_outcomes
from trainers.evaluation.metrics_file import Metrics, rate
from trainers.evaluation.outcome import Outcome
from trainers.evaluation.outcome_files import TABLES, read_outcomes
from trainers.evaluation.realism.report import SyntheticFigures
from trainers.variants import REAL_ONLY


@dataclass(frozen=True)
class Row:
    """Trials that differ in seed and fold alone: an arm that the study enumerates, or a cell that its search drew."""

    trials: tuple[Trial, ...]
    """One per seed and fold."""
    made: Mapping[str, Artifact]
    """Evaluate key -> artifact, of the trials that are complete."""
    compared: tuple[int, ...] = ()
    """Seeds that its figures are over (`compare`); without any it has no figures."""
    judged: Mapping[str, Artifact] = field(default_factory=dict)
    """Realism key -> artifact, of the trials whose synthetic slices are judged."""

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
        """Whether every trial is evaluated."""
        return len(self.made) == len(self.trials)

    @property
    def measured(self) -> bool:
        """Whether it has figures."""
        return bool(self.compared)

    @property
    def seeds(self) -> str:
        """`2/3`: complete trials of all, one per seed and fold."""
        return f"{len(self.made)}/{len(self.trials)}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Evaluate stage keys by which store and MLflow hold its figures; of all its trials where it has none."""
        return tuple(trial.evaluate.key for trial in self.trials if not self.measured or trial.seed in self.compared)

    @property
    def evaluated(self) -> Iterator[tuple[Trial, Artifact]]:
        """The complete trials with their evaluate artifacts."""
        return ((trial, self.made[key]) for trial in self.trials if (key := trial.evaluate.key) in self.made)

    @cached_property
    def artifacts(self) -> dict[int, list[Artifact]]:
        """Seed -> evaluate artifacts of its folds, or of its only trial; of seeds that lack none."""
        by_seed: dict[int, list[Artifact | None]] = {}
        for trial in self.trials:
            by_seed.setdefault(trial.seed, []).append(self.made.get(trial.evaluate.key))
        return {seed: complete for seed, made in by_seed.items() if len(complete := [*filter(None, made)]) == len(made)}

    @cached_property
    def of_trials(self) -> dict[Trial, Metrics]:
        """Figures of the complete trials."""
        return {trial: read_metrics(artifact) for trial, artifact in self.evaluated}

    @cached_property
    def metrics(self) -> dict[int, Metrics]:
        """Seed -> figures, over all of its folds; of the seeds in `artifacts`."""
        by_seed: dict[int, list[Metrics]] = {seed: [] for seed in self.artifacts}
        for trial, metrics in self.of_trials.items():
            if trial.seed in by_seed:
                by_seed[trial.seed].append(metrics)
        return {seed: pool_metrics(folds) for seed, folds in by_seed.items()}

    @cached_property
    def all_measured(self) -> dict[int, Measured]:
        """Seed -> what objectives and constraints are about; of the seeds in `artifacts`."""
        slices = {key: read_slice_figures(artifact) for key, artifact in self.judged.items()}
        own: dict[int, list[SyntheticFigures]] = {seed: [] for seed in self.metrics}
        for trial in self.trials:
            if trial.realism and trial.realism.key in slices and trial.seed in own:
                own[trial.seed].append(slices[trial.realism.key])
        return {seed: Measured(metrics, own[seed]) for seed, metrics in self.metrics.items()}

    @property
    def searched(self) -> tuple[Measured, ...]:
        """What objectives and constraints are about, of the compared seeds."""
        return tuple(self.all_measured[seed] for seed in self.compared)

    @property
    def results(self) -> tuple[Metrics, ...]:
        """Figures of the compared seeds."""
        return tuple(self.metrics[seed] for seed in self.compared)

    @cached_property
    def collapsed(self) -> dict[str, str]:
        """Name -> why, of the complete trials whose detectors collapsed."""
        reasons = {trial.name: collapse(metrics) for trial, metrics in self.of_trials.items()}
        return {name: why for name, why in reasons.items() if why}

    def values(self, split: Split, iou: str, name: str) -> list[float]:
        """A figure of every compared seed, e.g. `sensitivity`."""
        return [rate(result[split][iou], name) for result in self.results]

    def mean(self, split: Split, iou: str, name: str) -> float:
        """Mean of a figure over the compared seeds, at least one."""
        values = self.values(split, iou, name)
        return sum(values) / len(values)

    def outcomes(self, split: Split, config: EvaluationConfig) -> dict[float, Arm]:
        """IoU threshold -> outcomes of the compared seeds' detectors, over all folds."""
        files = [f"{name}.parquet" for name in TABLES]

        def of_seed(seed: int) -> dict[float, Outcome]:
            folds = [read_outcomes(one.path_to_read(*files), split, config.ious) for one in self.artifacts[seed]]
            return folds[0] if len(folds) == 1 else pool_outcomes(folds)

        read = {seed: of_seed(seed) for seed in self.compared}
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
    def measured(self) -> tuple[Row, ...]:
        """Arms and drawn cells that have figures."""
        return tuple(row for row in self.rows if row.measured)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that all figures are over; without figures and in a race those of the study."""
        first = next(iter(self.measured), None)
        return tuple(self.plan.study.seeds) if first is None or self.plan.study.search.races else first.compared

    @property
    def mark(self) -> str:
        """`1 of 2 seeds` where the figures are not over all seeds of the study, else nothing."""
        return partial_text(len(self.seeds), len(self.plan.study.seeds))

    @cached_property
    def baseline(self) -> Row | None:
        """The real-only arm, if the study enumerates it and it has figures."""
        return next((row for row in self.arms if row.arm == REAL_ONLY and row.measured), None)


def partial_text(seeds: int, planned: int) -> str:
    """`1 of 2 seeds`; nothing if figures are over all."""
    return f"{seeds} of {planned} seeds" if seeds < planned else ""


def compare(rows: Sequence[Row], *, races: bool) -> tuple[Row, ...]:
    """The same rows, with the seeds that their figures are over: the same for all, so that statistics may pair them.

    Those are the seeds with which most trials of the arms enter the figures: an arm without one of them has none. So
    an arm that lacks a seed is left out, but while seeds that were added to a study run, its figures stay those of the
    seeds before. A cell that a search drew needs all seeds of the arms; where no arm is evaluated, the cells themselves
    decide. A race compares each arm over seeds of its own.
    """
    evaluated = [row for row in rows if row.artifacts]
    arms = [row for row in evaluated if row.number is None] or evaluated
    base = {seed for row in arms if row.arm == REAL_ONLY for seed in row.artifacts}
    blocks = {frozenset(row.artifacts) & base if base else frozenset(row.artifacts) for row in arms} - {frozenset()}

    def trials(seeds: frozenset[int]) -> tuple[int, int]:
        having = sum(seeds <= row.artifacts.keys() for row in arms)
        return having * len(seeds), having

    best = max(blocks, key=lambda seeds: (*trials(seeds), [-seed for seed in sorted(seeds)]), default=None)

    def compared(row: Row) -> Row:
        seeds = {trial.seed for trial in row.trials} if races or best is None else best
        return replace(row, compared=tuple(sorted(seeds)) if seeds <= row.artifacts.keys() else ())

    return tuple(map(compared, rows))


def read_results(plan: Plan, store: Store) -> Results:
    """Look every trial up in the store; of drawn cells with the same values, which is one measurement, the first."""
    made = {key: artifact for name, keys in plan.keys.items() for key, artifact in store.find_all(name, keys).items()}
    rows: dict[tuple[bool, tuple[str, ...]], Row] = {}
    looked_at = {arm: seeds for arm, (seeds, _) in last_looks(plan.looks).items()}
    if plan.looks:
        looked_at[REAL_ONLY] = plan.looks[-1].seeds
    for cell, planned in plan.cells.items():
        trials = planned[: looked_at.get(cell)]  # without those of a look that is yet to be taken
        judged = {trial.realism.key for trial in trials if trial.realism and plan.study.judges_slices}
        row = Row(
            trials,
            {key: made[key] for trial in trials if (key := trial.evaluate.key) in made},
            judged={key: made[key] for key in judged & made.keys()},
        )
        rows.setdefault((row.number is None, row.keys), row)
    evaluated = {row.arm: [trial for trial, _ in row.evaluated] for row in rows.values() if row.number is None}
    compared = compare([*rows.values()], races=plan.study.search.races)
    return Results(plan, compared, machines_of(evaluated, made), made)
