"""Stops trials and runs them again: what commands and pages do alike."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.studies.opened import OpenedStudy
from sweep.studies.outcome import Outcome, StopReason
from sweep.studies.overview import launch_state
from sweep.studies.records import Request
from sweep.studies.selection import ended, select, unfinished
from sweep.studies.watched_study import WatchedStudy


def stop_trials(opened: OpenedStudy, words: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Stop the trials that `words` name, now and in later launches.

    Returns:
        Their names, and whether a running launch was asked to stop them.

    Raises:
        ConfigError: a word names nothing, or all of these trials are done.
    """
    plan, record = opened.plan(), opened.record
    named = select(plan, words, opened.given)
    names = tuple(trial.name for trial in unfinished(named, words, plan, opened.store))
    alive = launch_state(record.status()) == "alive"
    if alive:
        record.ask(Request(action="stop", trials=names))
    record.keep_outcomes(dict.fromkeys(names, Outcome(state="stopped", reason=StopReason.STOPPED_BY_HAND)))
    return names, alive


def after_stop(alive: bool) -> str:
    """What happens next to stopped trials; `alive`: a running launch was asked to stop them."""
    if alive:
        return "Training writes a checkpoint and ends within seconds."
    return "No launch is running now; the next launch leaves these trials out."


def retry_trials(opened: OpenedStudy, words: Sequence[str], *, failed: bool) -> tuple[tuple[str, ...], bool]:
    """Let the trials that `words` name run again, or with `failed` and no word every failed trial.

    Returns:
        Their names, and whether a running launch was asked to run them.

    Raises:
        ConfigError: a word names nothing, or none of these trials failed or was stopped.
    """
    watched, record = WatchedStudy(opened), opened.record
    overview = watched.now()
    named = None if failed and not words else select(watched.plan, words, opened.given)
    names = tuple(ended(overview, named, opened.given, failed=failed))
    record.forget_outcomes(names)
    alive = launch_state(record.status()) == "alive"
    if alive:
        record.ask(Request(action="retry", trials=names))
    return names, alive
