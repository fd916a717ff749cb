"""Puts a plan's parts together: what is done, what remains, what that costs, what has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sweep.cli import plan_tables
from sweep.console import TextConsole
from sweep.engine.cluster import Capacity, look_at
from sweep.plan.estimate import Estimator, Usage
from sweep.plan.kept_flops import KeptFlops
from sweep.plan.plan import Plan, bytes_of
from sweep.plan.schedule import Jobs, Schedule, schedule, schedule_anywhere
from sweep.plan.undrawn import Undrawn, add_rest_of_race, add_undrawn
from sweep.redaction import without_secrets
from sweep.settings import cache_folder
from sweep.stages import Stage
from sweep.store import Store
from sweep.studies.opened import OpenedStudy
from sweep.studies.optuna_study import left_to_draw
from sweep.studies.progress import clock
from sweep.studies.records import StudyRecord, changes, lasting
from sweep.text import count_text
from trainers.exceptions import ClusterError


@dataclass(frozen=True)
class Outlook:
    """All that `metsweep plan` shows of a study."""

    plan: Plan
    store: Store
    where: str
    """Name of the cluster."""
    missing: Mapping[str, Stage]
    """Stage key -> stage that is not in the store."""
    estimator: Estimator
    bound: Undrawn
    """Cells that are yet to be drawn, or seeds that a race may yet take."""
    capacity: Capacity
    impossible: str | None
    """Why the cluster can never run the study; None if it can."""
    schedule: Schedule
    """On the cluster; if that cannot run the study, on one with room for everything at once."""

    @property
    def usage(self) -> Usage:
        """Of all stages to run."""
        return self.estimator.total(self.missing.values()) + self.bound.usage

    @property
    def bytes(self) -> int:
        """What is to be written."""
        return bytes_of(self.missing.values()) + self.bound.bytes

    @property
    def nothing_left(self) -> bool:
        """Whether everything is in the store."""
        return not self.missing and not self.bound.stages

    @property
    def changed(self) -> Mapping[str, tuple]:
        """Key of the study -> its value at the last launch, and now."""
        before = StudyRecord(self.store, self.plan.study.name).study()
        return changes(before, lasting(self.plan.study)) if before else {}


def look_ahead(opened: OpenedStudy) -> Outlook:
    """What remains of a study, and what that costs.

    Raises:
        MetsweepError: the cohort, Optuna's database or Ray cannot be used.
    """
    study, store, drawn = opened.study, opened.store, opened.drawn()
    plan = opened.plan(drawn)
    done_keys = {name: store.keys(name) for name in plan.wanted}
    missing = {key: stage for key, stage in plan.stages.items() if key not in done_keys[stage.name]}
    estimator = Estimator(plan, store, done_keys, kept_flops=KeptFlops(cache_folder() / "flops"))
    jobs = Jobs(missing, estimator)
    bound = add_undrawn(plan, opened.maker, left_to_draw(study, drawn), estimator, jobs, store)
    if study.search.races:
        from sweep.plan.racing import rest_of_race

        bound = add_rest_of_race(rest_of_race(opened.whole_plan(drawn), plan), estimator, jobs)
    ray_address = opened.settings.ray_address
    capacity = look_at(ray_address)
    impossible = None
    try:
        if missing or bound.stages:
            capacity.refuse_infeasible([study.resources.gan, study.resources.detector])
    except ClusterError as error:
        impossible = str(error)
    return Outlook(
        plan,
        store,
        f"the cluster at {without_secrets(ray_address)}" if ray_address else "this machine",
        missing,
        estimator,
        bound,
        capacity,
        impossible,
        schedule_anywhere(jobs.all) if impossible else schedule(jobs.all, capacity.total("CPU"), capacity.total("GPU")),
    )


def show_plan(outlook: Outlook, console: TextConsole) -> None:
    """Print all that `metsweep plan` shows of a study."""
    plan, missing, estimator = outlook.plan, outlook.missing, outlook.estimator
    study = plan.study
    console.say(
        f"Study {study.name} at {study.fidelity} fidelity: cohort {study.cohort}, "
        f"{count_text(len(plan.cells), 'cell')}, {count_text(len(plan.trials), 'trial')} "
        f"({plan_tables.seeds_text(study.seeds)}{f', {study.folds} folds' if study.folds else ''}), store "
        f"{without_secrets(outlook.store.uri)}."
    )
    record = StudyRecord(outlook.store, study.name)
    if record.extension():
        console.say("Includes what `metsweep extend` added.")
    console.print(plan_tables.arms_table(plan, missing))
    console.print(plan_tables.stages_table(plan, missing, estimator))
    for stage in plan.gans.values():
        if stage.detector:
            console.say(f"The generator of {stage.label} learns from one more detector: {stage.detector.label}.")
    plan_tables.show_changes(outlook.changed, record.needs(), plan, missing, console)
    saved = plan_tables.hours_text(plan_tables.saved(plan, estimator))
    console.say(f"Sharing saves {count_text(plan.shared, 'stage')}, {saved}.")
    if outlook.nothing_left:
        console.say("Time left: none, everything is in the store.")
        return
    for line in plan_tables.undrawn_lines(outlook.bound, study):
        console.say(line)
    possible = outlook.impossible is None
    console.say(plan_tables.time_left(outlook.schedule, outlook.capacity, outlook.where, possible=possible))
    for line in plan_tables.totals(outlook.usage, outlook.schedule, outlook.bytes, study, estimator.all_measured):
        console.say(line)
    if not possible:
        console.say(f"{outlook.where.capitalize()} cannot run the study: {outlook.impossible}")


def costs_of(opened: OpenedStudy) -> str:
    """One line on what remains of a study, by a rough estimate."""
    outlook = look_ahead(opened)
    stages = len(outlook.missing) + outlook.bound.stages.total()
    return (
        f"To run: {count_text(stages, 'stage')}, about {clock(outlook.schedule.seconds)}, "
        f"{plan_tables.hours_text(outlook.usage)}."
    )
