"""What the cells that a search has yet to draw, or the seeds that a race may yet take, cost at most."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from search_spaces.cell import Cell
from search_spaces.space import Choice, Dimension
from search_spaces.study import Study
from sweep.plan.estimate import Estimator, Usage
from sweep.plan.plan import Plan, bytes_of
from sweep.plan.schedule import Jobs
from sweep.plan.trial import Trial, TrialMaker
from sweep.stages import DetectorStage, RealismStage, ShardStage, Stage
from sweep.store import Store
from trainers.exceptions import ConfigError
from trainers.variants import SECTIONS, Variant


@dataclass
class Undrawn:
    """An upper bound: every cell is of the dearest variant and, key by key, of the value that costs most."""

    cells: int
    usage: Usage = field(default_factory=Usage)
    stages: Counter[str] = field(default_factory=Counter)
    """Stage name -> how many at most."""
    bytes: int = 0
    """What they write."""
    source_per_cell: bool = False
    """Whether every cell may need its own source, e.g. a GAN as a key of `gan` is drawn."""


def add_undrawn(plan: Plan, maker: TrialMaker, left: int, estimator: Estimator, jobs: Jobs, store: Store) -> Undrawn:
    """Bound what `left` more cells cost, and add the jobs that make them.

    GANs are at most one per variant without a GAN in the plan or the store; one per cell if a key of `gan` is drawn.
    Each comes with the realism of its slices, which every cell needs where the study `judges_slices`.
    """
    study = plan.study
    bound = Undrawn(left, source_per_cell=any(key.partition(".")[0] in SECTIONS for key in study.space))
    shards_anew = any(key.startswith("synthesis.") for key in study.space)
    if not left:
        return bound

    def seconds(stages: Iterable[Stage]) -> float:
        used = estimator.total(stages)
        return used.gpu_seconds or used.cpu_seconds

    def cost(cell: Cell) -> float:
        return seconds(maker.trials(cell)[0].stages.values())

    drawn = {variant: _dearest(study, variant, cost) for variant in study.variants_to_draw()}
    maker.start_plan()
    cells = {variant: maker.trials(cell) for variant, cell in drawn.items()}

    def cost_here(trials: list[Trial]) -> float:
        first = trials[0]
        return seconds(first.stages.values() if bound.source_per_cell else [first.evaluate.detector])

    dearest = max(cells, key=lambda variant: cost_here(cells[variant]))

    def add(stages: list[Stage], after: list[int] | None = None) -> int:
        bound.usage += estimator.total(stages)
        bound.stages.update(stage.name for stage in stages)
        bound.bytes += bytes_of(stages)
        return jobs.add(stages, after)

    for detector in _real_only_detectors(cells.values(), plan, store):
        add([detector])
    of_source = {variant: _made_for_source(trials, plan) for variant, trials in cells.items()}
    if not bound.source_per_cell:
        names = {stage.name for stages in of_source.values() for stage in stages}
        made = plan.stages.keys() | set().union(*(store.keys(name) for name in names))
        of_source = {
            variant: [stage for stage in stages if stage.key not in made] for variant, stages in of_source.items()
        }
    shared = {} if bound.source_per_cell else {variant: add(stages) for variant, stages in of_source.items() if stages}
    for _ in range(left):
        before = [shared[dearest]] if dearest in shared else []
        if of_source[dearest] and bound.source_per_cell:
            before = [add(of_source[dearest])]
        elif shards_anew and cells[dearest][0].source:
            before = [add(_drawn_anew(cells[dearest][0], study), before)]
        for trial in cells[dearest]:
            add([trial.evaluate.detector, *trial.own_goals], before)
    return bound


def add_rest_of_race(looks: Sequence[Sequence[Trial]], estimator: Estimator, jobs: Jobs) -> Undrawn:
    """Bound what the rest of a race costs, where no arm is decided before the last look, and add the jobs.

    Args:
        looks: the trials that each look adds; they wait for those of the look before.
    """
    bound = Undrawn(0)
    before = [*range(len(jobs.all))]
    for trials in looks:
        stages = [[trial.evaluate.detector, *trial.own_goals] for trial in trials]
        for added in stages:
            bound.usage += estimator.total(added)
            bound.stages.update(stage.name for stage in added)
            bound.bytes += bytes_of(added)
        before = [jobs.add(added, before) for added in stages]
    return bound


def _made_for_source(trials: list[Trial], plan: Plan) -> list[Stage]:
    """The source of a cell, its shards, and their realism, which the first trial with that source in the plan may
    have."""
    first = trials[0]
    if first.source is None:
        return []
    key = first.source.key
    sharing = [trial for trial in (first, *plan.trials) if trial.source and trial.source.key == key]
    goals_of_source: dict[str, Stage] = {}
    for goal in (goal for trial in sharing for goal in trial.goals if goal.run_kind == "source"):
        goals_of_source.setdefault(goal.name, goal)
    needed: dict[str, Stage] = {}
    for goal in (first.evaluate, *goals_of_source.values()):
        goal.collect(needed)
    return [stage for stage in needed.values() if stage.run_kind == "source"]


def _drawn_anew(trial: Trial, study: Study) -> list[Stage]:
    """The shards of a cell that shares its source with others, and their realism if the cell is judged by it."""
    needed: dict[str, Stage] = {}
    for goal in trial.goals if study.judges_slices else (trial.evaluate,):
        goal.collect(needed)
    return [stage for stage in needed.values() if isinstance(stage, ShardStage | RealismStage)]


def _real_only_detectors(cells: Iterable[list[Trial]], plan: Plan, store: Store) -> list[Stage]:
    """Those that judge the slices of cells or teach their GANs, which all cells share, as far as they are not made."""
    made = plan.stages.keys() | store.keys(DetectorStage.name)
    others = {
        stage.key: stage
        for first, *_ in cells
        for stage in first.stages.values()
        if isinstance(stage, DetectorStage) and stage.key != first.evaluate.detector.key
    }
    return [stage for key, stage in others.items() if key not in made]


def _dearest(study: Study, variant: Variant, cost: Callable[[Cell], float]) -> Cell:
    """A cell of a variant with, for one key after the other, the choice or the end of a range that costs most; with the
    study's values if those do not fit together."""
    tried = {key: _ends(dimension) for key, dimension in study.dimensions(variant).items()}
    values: dict[str, Any] = {"variant": variant, **{key: ends[0] for key, ends in tried.items()}}

    def cost_with(key: str, value: Any) -> float:
        try:
            return cost(study.cell_of({**values, key: value}))
        except ConfigError:
            return -math.inf

    for key, ends in tried.items():
        values[key] = max(ends, key=partial(cost_with, key))
    cell = study.cell_of(values)
    try:
        study.with_params(cell)
    except ConfigError:
        return Cell(cell.variant, cell.paper_count)
    return cell


def _ends(dimension: Dimension) -> list[Any]:
    """Its choices, or the ends of its range; of numbers the largest first, which stands for those that cost as much."""
    tried = list(dimension.tried() if isinstance(dimension, Choice) else dimension.ends)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in tried)
    return sorted(tried, reverse=True) if numbers else tried
