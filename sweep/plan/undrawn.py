"""Cells that a search has yet to draw: what they cost at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from search_spaces.cell import Cell, Variant
from search_spaces.study import Study
from sweep.plan.estimate import Estimator, Usage
from sweep.plan.plan import Plan
from sweep.plan.schedule import Jobs
from sweep.plan.trial import Trial, TrialMaker
from sweep.stages import Stage
from trainers.exceptions import ConfigError


@dataclass
class Undrawn:
    """An upper bound: every cell the dearest one, at the upper end of every range."""

    cells: int
    usage: Usage = field(default_factory=Usage)
    stages: Counter[str] = field(default_factory=Counter)
    """Stage name -> how many at most."""
    a_gan_each: bool = False
    """Whether every cell may need a GAN of its own, as a key of `gan` is drawn."""


def add_undrawn(plan: Plan, maker: TrialMaker, left: int, estimator: Estimator, jobs: Jobs) -> Undrawn:
    """Bound what `left` more cells cost, and add the jobs that make them.

    GANs are at most one a variant that has none yet; one a cell if the space holds a key of `gan`.
    """
    study = plan.study
    bound = Undrawn(left, a_gan_each=any(key.startswith("gan.") for key in study.space))
    shards_anew = any(key.startswith("synthesis.") for key in study.space)
    if not left:
        return bound
    cells: dict[Variant, list[Trial]] = {
        variant: maker.trials(_dearest(study, variant)) for variant in study.variants_to_draw()
    }

    def add(stages: list[Stage], after: list[int] | None = None) -> int:
        bound.usage += estimator.total(stages)
        bound.stages.update(stage.name for stage in stages)
        return jobs.add(stages, after)

    def cost(trials: list[Trial]) -> float:
        with_gan = trials[0].stages.values() if bound.a_gan_each else [trials[0].evaluate.detector]
        used = estimator.total(with_gan)
        return used.gpu_seconds or used.cpu_seconds

    of_gan = {variant: list(_made_for_gan(trials, plan)) for variant, trials in cells.items()}
    dearest = max(cells, key=lambda variant: cost(cells[variant]))
    shared = {} if bound.a_gan_each else {variant: add(stages) for variant, stages in of_gan.items() if stages}
    for _ in range(left):
        before = [shared[dearest]] if dearest in shared else []
        if of_gan[dearest] and bound.a_gan_each:
            before = [add(of_gan[dearest])]
        elif shards_anew and cells[dearest][0].gan:
            before = [add([*cells[dearest][0].evaluate.detector.shards], before)]
        for trial in cells[dearest]:
            add([trial.evaluate.detector, trial.evaluate], before)
    return bound


def _made_for_gan(trials: list[Trial], plan: Plan) -> Iterator[Stage]:
    """The GAN of a cell, its shards and the look at them, as far as the plan does not have them."""
    first = trials[0]
    if first.gan is None:
        return
    realism = [first.realism] if first.realism else []
    for stage in (first.gan, *first.evaluate.detector.shards, *realism):
        if stage.key not in plan.stages:
            yield stage


def _dearest(study: Study, variant: Variant) -> Cell:
    """A cell of a variant at the upper end of every range; with the study's own values if those do not go together."""
    values: dict[str, Any] = {"variant": variant}
    for key, dimension in study.dimensions(variant).items():
        tried = list(dimension.tried())
        numbers = [value for value in tried if isinstance(value, int | float) and not isinstance(value, bool)]
        values[key] = max(numbers) if len(numbers) == len(tried) else tried[0]
    cell = study.cell_of(values)
    try:
        study.with_params(cell)
    except ConfigError:
        return Cell(cell.variant, cell.count)
    return cell
