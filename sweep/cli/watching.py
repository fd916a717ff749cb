"""Watches a study until its launch ends."""

from __future__ import annotations

import time

from rich.console import Group
from rich.live import Live

from sweep.cli.status_tables import MOST_ROWS, headline, reasons, states_table
from sweep.console import TextConsole
from sweep.studies.overview import Overview
from sweep.studies.progress import clock
from sweep.studies.watched_study import WatchedStudy
from trainers.exceptions import ConfigError

PLAIN_EVERY_SECONDS = 60.0


def follow(watched: WatchedStudy, study: str, every_seconds: float, console: TextConsole) -> bool:
    """Show the study until its launch ends; whether the launch ended by itself instead of falling silent.

    Raises:
        ConfigError: no launch has reported its state, or the report cannot be read.
    """
    overview = watched.now()
    if overview.launch == "never":
        raise ConfigError(
            f"Study {overview.study.name}: the state of its last launch is unknown, as status.json in the store is "
            f"missing or damaged. A running launch writes that file within seconds. Next: metsweep launch {study}"
        )
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(
                    Group(*headline(overview, study), states_table(overview, MOST_ROWS), *reasons(overview)),
                    refresh=True,
                )
                if overview.launch != "alive":
                    break
                time.sleep(every_seconds)
                overview = watched.now()
    else:
        overview = _print_changes(watched, overview, study, every_seconds, console)
    return overview.launch == "ended"


def _print_changes(
    watched: WatchedStudy, overview: Overview, study: str, every_seconds: float, console: TextConsole
) -> Overview:
    """Print trials whose state or stage changed, and every minute all that run."""
    before: dict[str, tuple[str, str]] = {}
    said = 0.0
    while True:
        again = time.monotonic() - said >= PLAIN_EVERY_SECONDS or overview.launch != "alive"
        for now in overview.trials:
            name, at = now.trial.name, (now.state, now.stage)
            changed = at != before.get(name, ("waiting", ""))
            before[name] = at
            if changed or (again and now.state == "running"):
                share = "" if now.share is None else f"{now.share:.0%}"
                left = "" if now.seconds_left is None else f"{clock(now.seconds_left)} left"
                value = "" if now.value is None else f"validation {now.value:.3f}"
                maker = now.maker and f"made by {now.maker}"
                parts = (name, now.state, now.stage, maker, share, left, value, now.reason)
                console.say("  ".join(filter(None, parts)))
        if again:
            said = time.monotonic()
            for line in headline(overview, study):
                console.say(line)
        if overview.launch != "alive":
            return overview
        time.sleep(every_seconds)
        overview = watched.now()
