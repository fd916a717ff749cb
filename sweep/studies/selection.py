"""Selects the trials that a person names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from sweep.plan import Plan, Trial
from sweep.store import Store
from sweep.studies.overview import Overview
from trainers.exceptions import ConfigError

CLOSE = 3


def select(plan: Plan, words: Sequence[str], study: str) -> list[Trial]:
    """The trials named by words: trials, cells with all their seeds, or drawn cells by number (`t7`).

    Args:
        study: as the person named it.

    Raises:
        ConfigError: no word, or a word that names nothing; suggests similar names.
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
    """The trials that are not done; ConfigError if all of them are."""
    open_ = {trial.name for trial in plan.unfinished(store)}
    left = [trial for trial in trials if trial.name in open_]
    if not left:
        raise ConfigError(f"{', '.join(words)}: already done, so nothing can be stopped.")
    return left


def ended(overview: Overview, chosen: Sequence[Trial] | None, study: str, *, failed: bool) -> list[str]:
    """Names of the trials that failed, were stopped or pruned.

    Args:
        chosen: considers only these trials; None considers all.
        study: as the person named it.
        failed: only trials that failed.

    Raises:
        ConfigError: no trial did.
    """
    among = None if chosen is None else {trial.name for trial in chosen}
    states = ("failed",) if failed else ("failed", "stopped", "pruned")
    looked_at = [trial_state for trial_state in overview.trials if among is None or trial_state.trial.name in among]
    names = [trial_state.trial.name for trial_state in looked_at if trial_state.state in states]
    if names:
        return names
    if among is None:
        raise ConfigError(f"No trial of study {overview.study.name} has failed; `metsweep status {study}` shows all.")
    states_text = ", ".join(f"{trial_state.trial.name} is {trial_state.state}" for trial_state in looked_at)
    raise ConfigError(f"Only trials that failed or were stopped can be run again: {states_text}.")
