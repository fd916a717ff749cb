"""Puts a plan's parts together: what is there, what is left, what it costs, what has changed."""

from __future__ import annotations

from rich.console import Console

from search_spaces.study import Study
from sweep.cli import plan_tables
from sweep.engine.board import clock
from sweep.engine.cluster import look_at
from sweep.engine.optuna_study import read_drawn
from sweep.engine.records import StudyRecord, changes
from sweep.plan.estimate import Estimator
from sweep.plan.plan import Plan, make_trial_maker, plan_with
from sweep.plan.schedule import Jobs, schedule
from sweep.plan.trial import TrialMaker
from sweep.plan.undrawn import add_undrawn
from sweep.settings import Settings
from sweep.store import Store


def planned(study: Study, settings: Settings) -> tuple[Plan, TrialMaker]:
    """A study's plan with the cells that its search has drawn so far, and the maker of those to come.

    Raises:
        MetsweepError: the cohort or Optuna's database cannot be used.
    """
    maker = make_trial_maker(study)
    drawn = [(one.number, one.cell) for one in read_drawn(study, settings.optuna_storage)]
    return plan_with(maker, study, drawn), maker


def show_plan(study: Study, store: Store, settings: Settings, console: Console) -> None:
    """Print all that `metsweep plan` tells of a study.

    Raises:
        MetsweepError: the cohort, Optuna's database or Ray cannot be used, or the cluster can never place a stage.
    """
    plan, maker = planned(study, settings)
    there = {name: store.keys(name) for name in plan.wanted}
    missing = {key: stage for key, stage in plan.stages.items() if key not in there[stage.name]}
    left = study.search.left_to_draw(plan.drawn)
    capacity = look_at(settings.ray_address)
    if missing or left:
        capacity.refuse_infeasible([study.resources.gan, study.resources.detector])

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False)

    cells = len(plan.cells)
    say(
        f"Study {study.name} at {study.fidelity} fidelity: cohort {study.cohort}, {cells:,} cells, "
        f"{len(plan.trials):,} trials ({plan_tables.seeds_told(study.seeds)}), store {store.uri}."
    )
    record = StudyRecord(store, study.name)
    if record.extension():
        say("With what `metsweep extend` added.")
    estimator = Estimator(plan, store, there)
    jobs = Jobs(plan, missing, estimator)
    bound = add_undrawn(plan, maker, left, estimator, jobs, store)
    console.print(plan_tables.arms_table(plan, missing))
    console.print(plan_tables.stages_table(plan, missing, estimator))
    for stage in plan.gans.values():
        if stage.detector:
            arm = stage.detector.label.removeprefix("detector ")
            say(f"The generator of {stage.label} learns from one more detector: {arm}.")
    if before := record.study():
        changed = changes(before, study.model_dump(mode="json", by_alias=True))
        plan_tables.show_changes(changed, record.needs(), plan, missing, console)
    say(plan_tables.sharing(plan, estimator))
    if not missing and not left:
        say("Time left: none, everything is in the store.")
        return
    for line in plan_tables.undrawn_lines(bound, study):
        say(line)
    usage = estimator.total(missing.values()) + bound.usage
    on_cluster = schedule(jobs.all, capacity.total("CPU"), capacity.total("GPU"))
    where = f"the cluster at {settings.ray_address}" if settings.ray_address else "this machine"
    bytes_ = plan.bytes_of(missing) + bound.bytes
    for line in plan_tables.totals(usage, on_cluster, bytes_, capacity, where, study, estimator.all_measured):
        say(line)


def costs_of(study: Study, settings: Settings, store: Store) -> str:
    """One line on what is left to do of a study, by a rough estimate."""
    plan, maker = planned(study, settings)
    missing = plan.missing(store)
    left = study.search.left_to_draw(plan.drawn)
    estimator = Estimator(plan, store)
    jobs = Jobs(plan, missing, estimator)
    bound = add_undrawn(plan, maker, left, estimator, jobs, store)
    usage = estimator.total(missing.values()) + bound.usage
    capacity = look_at(settings.ray_address)
    seconds = schedule(jobs.all, capacity.total("CPU"), capacity.total("GPU")).seconds
    return (
        f"To run: {len(missing) + bound.stages.total():,} stages, about {clock(seconds)}, "
        f"{usage.gpu_seconds / 3600:,.2f} GPU-hours, {usage.cpu_seconds / 3600:,.2f} CPU-hours."
    )
