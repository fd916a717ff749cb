"""What `metsweep plan` shows."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from sweep.engine.board import clock
from sweep.plan import Plan, seconds_of_stages
from sweep.store import Store


def show_plan(plan: Plan, store: Store, console: Console) -> None:
    """Print a plan's arms, its stages, and what is left to do."""
    study = plan.study
    console.print(
        f"Study {study.name} at {study.fidelity} fidelity: cohort {study.cohort}, {len(plan.trials)} trials "
        f"(seeds {', '.join(map(str, study.seeds))}), store {store.uri}.",
        soft_wrap=True,
    )
    history = seconds_of_stages(store)
    missing = plan.missing(store)
    console.print(_arms(plan, missing))
    console.print(_stages(plan, missing, history))
    for stage in plan.gans.values():
        if stage.detector:
            arm = stage.detector.label.removeprefix("detector ")
            console.print(f"The generator of {stage.label} learns from one more detector: {arm}.", soft_wrap=True)
    console.print(f"Sharing saves {plan.shared} stages. Time left: {_time_left(missing, history)}.", soft_wrap=True)


def _arms(plan: Plan, missing: dict) -> Table:
    table = Table(title="Arms", title_justify="left")
    table.add_column("variant")
    for column in ("count in the study", "count at this fidelity", "trials", "evaluated"):
        table.add_column(column, justify="right")
    for arm in plan.study.arms:
        for count in arm.counts:
            scaled = plan.study.synthetic_count(count)
            trials = [trial for trial in plan.trials if (trial.variant, trial.count) == (arm.variant, scaled)]
            evaluated = sum(trial.evaluate.key not in missing for trial in trials)
            table.add_row(arm.variant, f"{count:,}", f"{scaled:,}", str(len(trials)), str(evaluated))
    return table


def _stages(plan: Plan, missing: dict, history: dict[str, float]) -> Table:
    table = Table(title="Stages", title_justify="left")
    table.add_column("stage")
    for column in ("without sharing", "unique", "in the store", "to run", "seconds each, so far"):
        table.add_column(column, justify="right")
    wanted = Counter(stage.name for trial in plan.trials for stage in trial.stages.values())
    unique = Counter(stage.name for stage in plan.stages.values())
    to_run = Counter(stage.name for stage in missing.values())
    for name, number in unique.items():
        seconds = f"{history[name]:.0f}" if name in history else "no history yet"
        row = (wanted[name], number, number - to_run[name], to_run[name], seconds)
        table.add_row(name, *map(str, row))
    return table


def _time_left(missing: dict, history: dict[str, float]) -> str:
    if not missing:
        return "none, everything is in the store"
    unknown = sorted({stage.name for stage in missing.values()} - set(history))
    if unknown:
        return f"no history yet of {', '.join(unknown)}"
    seconds = sum(history[stage.name] for stage in missing.values())
    return f"{clock(seconds)} of work one after another, by the median of earlier stages"
