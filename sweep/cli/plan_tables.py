"""What `metsweep plan` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from search_spaces.cell import TRAIN_PATIENTS
from search_spaces.study import Study
from sweep.console import TextConsole, TextTable
from sweep.engine.cluster import Capacity
from sweep.plan import Plan
from sweep.plan.estimate import Estimate, Estimator, Usage
from sweep.plan.schedule import Schedule
from sweep.plan.trial import arm_name
from sweep.plan.undrawn import Undrawn
from sweep.stages import Stage
from sweep.studies.progress import clock
from sweep.text import bytes_text, count_text

MOST_SEEDS, MOST_SOURCES = 12, 3
"""Of more than these, only the number is shown."""


class ArmRow(NamedTuple):
    """The trials of an arm, and how many of them are evaluated."""

    variant: str
    count_in_study: int | None
    count: int | None
    """At the study's fidelity; None for all cells that were drawn."""
    trials: int
    evaluated: int
    train_patients: int | None = None
    """Real training patients, where the arm has a number of its own."""

    @property
    def name(self) -> str:
        """The variant, with that number."""
        return self.variant if self.train_patients is None else f"{self.variant} {self.train_patients} patients"


class StageRow(NamedTuple):
    """The stages of a name."""

    stage: str
    without_sharing: int
    unique: int
    in_store: int
    to_run: int
    seconds_each: Sequence[tuple[Estimate, int]]
    """Estimates for the stages to run, each with the number of stages that it holds for."""


def arms(plan: Plan, missing: Mapping[str, Stage]) -> Iterator[ArmRow]:
    """Every arm; drawn cells in one row."""
    trials: Counter[str] = Counter()
    evaluated: Counter[str] = Counter()
    for trial in plan.trials:
        arm = trial.arm if trial.number is None else "drawn"
        trials[arm] += 1
        evaluated[arm] += trial.evaluate.key not in missing
    for cell in plan.study.cells():
        count, params = plan.study.synthetic_count(cell.paper_count), dict(cell.params)
        arm = arm_name(cell.variant, count, params)
        own = params.get(TRAIN_PATIENTS)
        yield ArmRow(cell.variant, cell.paper_count, count, trials[arm], evaluated[arm], own)
    if plan.study.search.draws:
        yield ArmRow("drawn so far", None, None, trials["drawn"], evaluated["drawn"])


def stages(plan: Plan, missing: Mapping[str, Stage], estimator: Estimator) -> Iterator[StageRow]:
    """Stages by name."""
    unique = Counter(stage.name for stage in plan.stages.values())
    to_run = Counter(stage.name for stage in missing.values())
    estimates: dict[str, list[tuple[Estimate, int]]] = {}
    for stage, number in estimator.alike(missing.values()):
        if estimate := estimator.of(stage):
            estimates.setdefault(stage.name, []).append((estimate, number))
    for name, number in unique.items():
        yield StageRow(name, plan.wanted[name], number, number - to_run[name], to_run[name], estimates.get(name, []))


def arms_table(plan: Plan, missing: Mapping[str, Stage]) -> TextTable:
    """Trials of every arm, and how many of them are evaluated."""
    columns = ("variant", "count in the study", "count at this fidelity", "trials", "evaluated")
    shown = arms(plan, missing)
    rows = ((arm.name, *("" if number is None else f"{number:,}" for number in arm[1:5])) for arm in shown)
    return TextTable.of("Arms", columns, rows)


def stages_table(plan: Plan, missing: Mapping[str, Stage], estimator: Estimator) -> TextTable:
    """Stages by name: how many, how many are in the store, how long each takes and the source of that time."""
    columns = ("stage", "requested", "after\nsharing", "cached", "to run", "seconds\neach", "estimate from")
    rows = (
        (row.stage, *(f"{count:,}" for count in row[1:5]), *_each(row.seconds_each))
        for row in stages(plan, missing, estimator)
    )
    return TextTable.of("Stages", columns, rows, left=("stage", "estimate from"))


def time_left(planned: Schedule, capacity: Capacity, where: str, *, possible: bool) -> str:
    """How long the remaining stages take on the cluster; if that cannot run them, where all fit in at once."""
    peak = f"at most {count_text(planned.peak, 'job')} at once, on {planned.peak_cpus:g} CPUs and "
    peak += f"{planned.peak_gpus:g} GPUs"
    longest = clock(planned.longest_chain)
    if not possible:
        return f"Time left: at least {longest}, the longest chain of stages; {peak}."
    return (
        f"Time left: about {clock(planned.seconds)} on {where} ({capacity.total('CPU'):g} CPUs, "
        f"{capacity.total('GPU'):g} GPUs), of which the longest chain of stages takes {longest}; {peak}."
    )


def totals(usage: Usage, planned: Schedule, bytes_: int, study: Study, measured: bool) -> Iterable[str]:
    """Lines on the remaining stages: resources, money, budget."""
    yield f"{hours_text(usage)}, {bytes_text(bytes_)} to write."
    if not measured:
        yield 'Times marked "assumed" may be off severalfold until a stage of that kind has been run.'
    prices = study.prices
    if (cost := prices.cost(usage.gpu_seconds, usage.cpu_seconds)) is not None:
        yield f"Money: {cost:,.2f} {prices.currency}, by the prices of the study or the settings."
    asked = (
        ("gpu_hours", "GPU-hours", usage.gpu_seconds / 3600, study.budget.gpu_hours),
        ("wall_hours", "hours by the clock", planned.seconds / 3600, study.budget.wall_hours),
    )
    for key, unit, needed, allowed in asked:
        if allowed is None:
            continue
        verdict = "enough"
        if needed > allowed:
            verdict = "too little: the launch stops when the budget is used up; launch again to resume"
        yield f"Budget: {needed:,.2f} of {allowed:g} {unit} (budget.{key}), {verdict}."


def saved(plan: Plan, estimator: Estimator) -> Usage:
    """What trials save by sharing stages."""
    return estimator.without_sharing(plan) - estimator.total(plan.stages.values())


def hours_text(usage: Usage) -> str:
    """`1.50 GPU-hours, 20.00 CPU-hours`."""
    return f"{usage.gpu_seconds / 3600:,.2f} GPU-hours, {usage.cpu_seconds / 3600:,.2f} CPU-hours"


def undrawn_lines(bound: Undrawn, study: Study) -> Iterable[str]:
    """What the cells that are yet to be drawn, or the seeds that a race may yet take, cost at most."""
    stages = ", ".join(f"{number:,} {name}" for name, number in bound.stages.items())
    if study.search.races and stages:
        yield (
            f"After the next look the race adds a seed at a time to the arms that are not decided: at most {stages}, "
            f"{hours_text(bound.usage)}, if all of them go on to {study.search.most_seeds} seeds. The totals below "
            "include them."
        )
    if not bound.cells:
        return
    gans = (
        "one GAN per cell, as a key of gan is drawn"
        if bound.source_per_cell
        else "one GAN per variant that has none yet"
    )
    yield (
        f"Yet to be drawn: {count_text(bound.cells, 'cell')}, {count_text(len(study.seeds), 'seed')} each: at most "
        f"{stages} ({gans}), {hours_text(bound.usage)}, if every cell has the dearest variant and the upper end of "
        "every range. The totals below include them."
    )


def show_changes(
    changed: Mapping[str, tuple],
    before: Mapping[str, set[str]],
    plan: Plan,
    missing: Mapping[str, Stage],
    console: TextConsole,
) -> None:
    """Print what differs from the last launch, which stages are made anew because of that, and which key decides."""
    for key, (old, new) in changed.items():
        console.say(f"Changed since the last launch: {key} was {old}, is {new}.")
    stages: dict[str, list[Stage]] = {}
    for stage in plan.stages.values():
        stages.setdefault(stage.name, []).append(stage)
    for name, planned in stages.items():
        needed_before = before.get(name, set())
        anew = [stage for stage in planned if stage.key in missing and stage.key not in needed_before]
        if not before or not anew:
            continue
        reused = sum(stage.key not in missing for stage in planned)
        sections = {section for stage in anew for needed in stage.inputs_first() for section in needed.sections}
        gone = needed_before - {stage.key for stage in planned}
        because = ", ".join(key for key in changed if key.split(".")[0] in sections) or (
            "the cohort's content or metsweep's version" if gone else "more trials"
        )
        console.say(
            f"{name}: {len(anew):,} that the last launch did not need, because of {because}; {reused:,} reused."
        )


def seeds_text(seeds: Sequence[int]) -> str:
    """The seeds themselves if they are few, else their number."""
    if len(seeds) > MOST_SEEDS:
        return f"{len(seeds):,} seeds"
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _each(estimates: Sequence[tuple[Estimate, int]]) -> tuple[str, str]:
    if not estimates:
        return "", ""
    seconds = [estimate.seconds for estimate, _ in estimates]
    least, most = f"{min(seconds):,.1f}", f"{max(seconds):,.1f}"
    sources: Counter[str] = Counter()
    for estimate, number in estimates:
        sources[estimate.source] += number
    shown = [source for source, _ in sources.most_common(MOST_SOURCES)]
    more = f"; {len(sources) - len(shown)} more" if len(sources) > len(shown) else ""
    return least if least == most else f"{least} to {most}", "; ".join(shown) + more
