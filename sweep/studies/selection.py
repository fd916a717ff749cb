"""Which trials a person means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from sweep.plan import Plan, Trial
from sweep.store import Store
from sweep.studies.overview import Overview
from trainers.exceptions import ConfigError

CLOSE = 3


def select(plan: Plan, words: Sequence[str], study: str) -> list[Trial]:
    """The trials that these words name: trials, cells with all their seeds, or drawn cells by number (`t7`).

    Args:
        study: what the person calls the study.

    Raises:
        ConfigError: no word, or a word that names nothing; tells what is close to it.
    """
    if not words:
        raise ConfigError(f"Name a trial or a cell of study {plan.study.name}; `metsweep status {study}` shows them.")
    named: dict[str, list[Trial]] = {}
    for trial in plan.trials:
        names = {trial.name, trial.cell} | ({f"t{trial.number}"} if trial.number is not None else set())
        for name in names:
            named.setdefault(name, []).append(trial)
    chosen: dict[str, Trial] = {}
    for word in words:
        if word not in named:
            close = difflib.get_close_matches(word, list(named), n=CLOSE, cutoff=0.5)
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise ConfigError(
                f"Study {plan.study.name} has no trial or cell {word!r}.{hint} `metsweep status {study}` shows all."
            )
        chosen |= {trial.name: trial for trial in named[word]}
    return list(chosen.values())


def unfinished(trials: Sequence[Trial], words: Sequence[str], plan: Plan, store: Store) -> list[Trial]:
    """Those that are not done.

    Raises:
        ConfigError: all of them are.
    """
    open_ = {trial.name for trial in plan.unfinished(store)}
    left = [trial for trial in trials if trial.name in open_]
    if not left:
        raise ConfigError(f"{', '.join(words)}: done already, there is nothing to stop.")
    return left


def ended(overview: Overview, chosen: Sequence[Trial] | None, study: str, *, failed: bool) -> list[str]:
    """Names of the trials that failed, were stopped or pruned.

    Args:
        chosen: among these; None: among all.
        study: what the person calls the study.
        failed: only those that failed.

    Raises:
        ConfigError: there are none.
    """
    among = None if chosen is None else {trial.name for trial in chosen}
    states = ("failed",) if failed else ("failed", "stopped", "pruned")
    looked_at = [one for one in overview.trials if among is None or one.trial.name in among]
    names = [one.trial.name for one in looked_at if one.state in states]
    if names:
        return names
    if among is None:
        raise ConfigError(f"No trial of study {overview.study.name} has failed; `metsweep status {study}` shows all.")
    told = ", ".join(f"{one.trial.name} is {one.state}" for one in looked_at)
    raise ConfigError(f"Only trials that failed or were stopped can be run again: {told}.")
