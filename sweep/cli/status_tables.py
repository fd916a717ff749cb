"""What `metsweep status` and `metsweep watch` show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from sweep.console import TextTable
from sweep.plan.looks import held_up_text, last_looks, race_text
from sweep.studies.overview import STATES, Overview, TrialState
from sweep.studies.progress import clock, last_update
from sweep.text import count_text

MOST_ROWS = 30
"""Trials that are shown unless all are asked for."""


def headline(overview: Overview, study: str) -> Iterator[str]:
    """Trials by state, the best cell, the race, the time left, and whether a launch is running."""
    numbers = overview.numbers
    others = [f"{numbers[state]:,} {state}" for state in STATES if numbers[state] and state != "done"]
    drawn = f", {count_text(overview.to_draw, 'cell')} yet to draw" if overview.to_draw else ""
    done = f"{numbers['done']:,} of {count_text(len(overview.trials), 'trial')} done"
    yield f"Study {overview.study.name}: {', '.join([done, *others])}{drawn}."
    objective = overview.study.objectives[0]
    if overview.best:
        name, value = overview.best
        rule = " (by the first objective, within the constraints)" if len(overview.study.objectives) > 1 else ""
        yield f"Best so far: cell {name}, {objective.metric} {value:.3f}{objective.place}{rule}."
    if overview.looks:
        yield race_text(overview.study, overview.looks)
    if overview.held_up_by:
        yield held_up_text(overview.held_up_by).strip()
    yield _launch(overview, study)


def states_table(overview: Overview, most: int | None) -> TextTable:
    """One line per trial: running trials first, done trials last; at most `most` lines."""
    ordered = sorted(overview.trials, key=lambda trial: STATES.index(trial.state))
    shown = ordered if most is None else ordered[:most]
    objective = overview.study.objectives[0]
    left_out = f"{len(ordered) - len(shown):,} more; --all shows them" if len(shown) < len(ordered) else None
    left = ("trial", "state", "stage")
    columns = (*left, "progress", "time left", objective.column)
    return TextTable.of(None, columns, map(_row, shown), left=left, whole=("trial",), caption=left_out)


def reasons(overview: Overview) -> Iterator[str]:
    """Why trials failed or were stopped, or that their detectors collapsed; each reason once."""
    because: dict[tuple[str, str], list[str]] = {}
    for state in overview.trials:
        if state.reason:
            because.setdefault((state.state, state.reason), []).append(state.trial.name)
    for (state, reason), names in because.items():
        who = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"
        yield f"{who} {state}: {reason}"


def as_dict(overview: Overview) -> dict[str, Any]:
    """Everything for other programs."""
    return {
        "study": overview.study.name,
        "trials": len(overview.trials),
        "states": {state: overview.numbers[state] for state in STATES},
        "cells_to_draw": overview.to_draw,
        "objective": overview.study.objectives[0].model_dump(mode="json"),
        "best": None if overview.best is None else {"cell": overview.best[0], "value": overview.best[1]},
        "race": {
            arm: {
                "seeds": seeds,
                "gain": at.comparison.difference,
                "interval": at.interval,
                "decision": at.decision.name.lower(),
            }
            for arm, (seeds, at) in last_looks(overview.looks).items()
        },
        "race_held_up_by": [trial.name for trial in overview.held_up_by],
        "seconds_left": overview.seconds_left,
        "launch": {
            "state": overview.launch,
            **{name: getattr(overview.status, name, None) for name in ("host", "pid", "began", "updated")},
        },
        "each": [
            {
                "trial": at.trial.name,
                "cell": at.trial.cell,
                "seed": at.trial.seed,
                "fold": at.trial.fold,
                "params": dict(at.trial.params),
                "state": at.state,
                "stage": at.stage or None,
                "made_by": at.maker or None,
                "progress": at.share,
                "value": at.value,
                "reason": at.reason,
            }
            for at in overview.trials
        ],
    }


def _row(trial: TrialState) -> tuple[str, ...]:
    share = "" if trial.share is None else f"{trial.share:.0%}"
    left = "" if trial.seconds_left is None else clock(trial.seconds_left)
    value = "" if trial.value is None else f"{trial.value:.3f}"
    stage = f"{trial.stage}, made by {trial.maker}" if trial.maker else trial.stage
    return trial.trial.name, trial.state, stage, share, left, value


def _launch(overview: Overview, study: str) -> str:
    status = overview.status
    if status is None:
        return f"The state of the last launch is unknown: it has not reported any. Next: metsweep launch {study}"
    silent_s = time.time() - status.updated
    who = f"(host {status.host}, PID {status.pid})"
    if overview.launch == "alive":
        left = "" if overview.seconds_left is None else f" About {clock(overview.seconds_left)} remaining."
        return f"Launched {clock(time.time() - status.began)} ago {who}; {last_update(silent_s)}.{left}"
    if overview.launch == "ended":
        return f"Last launch {who} ended {clock(silent_s)} ago."
    return f"The launch {who} has gone silent: {last_update(silent_s)}. Run the same launch command again to resume."
