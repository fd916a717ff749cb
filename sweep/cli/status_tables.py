"""What `metsweep status` and `metsweep watch` show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from sweep.console import TextTable
from sweep.studies.overview import STATES, Overview, TrialState
from sweep.studies.progress import clock

MOST_ROWS = 30
"""Trials that are shown unless all are asked for."""


def headline(overview: Overview, study: str) -> Iterator[str]:
    """How many trials are how far, the best cell, how long still, and whether a launch is at work."""
    numbers = overview.numbers
    told = [f"{numbers[state]:,} {state}" for state in STATES if numbers[state] and state != "done"]
    drawn = f", {overview.to_draw:,} cells yet to draw" if overview.to_draw else ""
    done = f"{numbers['done']:,} of {len(overview.trials):,} trials done"
    yield f"Study {overview.study.name}: {', '.join([done, *told])}{drawn}."
    objective = overview.study.objectives[0]
    if overview.best:
        name, value = overview.best
        yield f"Best so far: {name}, {objective.metric} {value:.3f} at IoU {objective.iou:g} on the validation split."
    yield _launch(overview, study)


def states_table(overview: Overview, most: int | None) -> TextTable:
    """One line a trial: those that run first, done ones last, and of many only the first."""
    ordered = sorted(overview.trials, key=lambda one: STATES.index(one.state))
    shown = ordered if most is None else ordered[:most]
    objective = overview.study.objectives[0]
    left_out = f"{len(ordered) - len(shown):,} more; --all shows them" if len(shown) < len(ordered) else None
    table = TextTable(caption=left_out, caption_justify="left")
    table.add_column("trial", no_wrap=True)
    table.add_column("state")
    table.add_column("stage")
    for column in ("progress", "time left", f"validation {objective.metric}"):
        table.add_column(column, justify="right")
    for one in shown:
        table.add_row(*_row(one))
    return table


def reasons(overview: Overview) -> Iterator[str]:
    """Why trials failed or were stopped, each reason once."""
    because: dict[tuple[str, str], list[str]] = {}
    for one in overview.trials:
        if one.reason:
            because.setdefault((one.state, one.reason), []).append(one.trial.name)
    for (state, reason), names in because.items():
        who = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"
        yield f"{who} {state}: {reason}"


def as_dict(overview: Overview) -> dict[str, Any]:
    """Everything for other programs."""
    status = overview.status
    return {
        "study": overview.study.name,
        "trials": len(overview.trials),
        "states": {state: overview.numbers[state] for state in STATES},
        "cells_to_draw": overview.to_draw,
        "objective": overview.study.objectives[0].model_dump(mode="json"),
        "best": None if overview.best is None else {"cell": overview.best[0], "value": overview.best[1]},
        "seconds_left": overview.seconds_left,
        "launch": {
            "state": overview.launch,
            "host": status.host if status else None,
            "pid": status.pid if status else None,
            "began": status.began if status else None,
            "updated": status.updated if status else None,
        },
        "each": [
            {
                "trial": one.trial.name,
                "cell": one.trial.cell,
                "seed": one.trial.seed,
                "params": dict(one.trial.params),
                "state": one.state,
                "stage": one.stage or None,
                "progress": one.share,
                "value": one.value,
                "reason": one.reason,
            }
            for one in overview.trials
        ],
    }


def _row(one: TrialState) -> tuple[str, ...]:
    share = "" if one.share is None else f"{one.share:.0%}"
    value = "" if one.value is None else f"{one.value:.3f}"
    left = "" if one.seconds_left is None else clock(one.seconds_left)
    stage = f"{one.stage}, made by {one.maker}" if one.maker else one.stage
    return one.trial.name, one.state, stage, share, left, value


def _launch(overview: Overview, study: str) -> str:
    status = overview.status
    if status is None:
        return f"What the last launch is doing is not known: it has not told it. Next: metsweep launch {study}"
    since = f"{clock(time.time() - status.updated)} ago"
    who = f"on {status.host}, process {status.pid}"
    if overview.launch == "alive":
        left = "" if overview.seconds_left is None else f" About {clock(overview.seconds_left)} left in all."
        return f"Launched {who}, {clock(time.time() - status.began)} ago; it told last {since}.{left}"
    if overview.launch == "ended":
        return f"The last launch, {who}, ended {since}."
    return f"The launch {who} has gone away: it told last {since}. The same launch command continues."
