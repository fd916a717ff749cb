"""Looks at a study again and again."""

from __future__ import annotations

import time

from rich.console import Group
from rich.live import Live

from sweep.cli.status_tables import MOST_ROWS, headline, reasons, states_table
from sweep.console import TextConsole
from sweep.plan import Plan
from sweep.studies.opened import OpenedStudy
from sweep.studies.overview import Observer, Overview
from sweep.studies.progress import clock
from trainers.exceptions import ConfigError

PLAIN_EVERY_SECONDS = 60.0


class Look:
    """One study, looked at again and again; its plan grows with the cells that its search draws."""

    def __init__(self, opened: OpenedStudy) -> None:
        self._opened = opened
        self._observer = Observer(opened.study, opened.store)
        self.plan: Plan = opened.plan(())

    def now(self) -> Overview:
        """How the study stands now."""
        drawn = self._opened.drawn()
        if len(drawn) != self.plan.drawn:
            self.plan = self._opened.plan(drawn)
        return self._observer.look(self.plan, drawn)


def follow(look: Look, study: str, every_seconds: float, console: TextConsole) -> bool:
    """Show the study until its launch ends; whether it ended by itself, not silently.

    Raises:
        ConfigError: no launch has told how it is getting on, or what it told cannot be read.
    """
    overview = look.now()
    if overview.launch == "never":
        raise ConfigError(
            f"Study {overview.study.name}: what its last launch is doing is not known, as status.json in the store is "
            f"missing or damaged. A launch that is at work writes it within seconds. Next: metsweep launch {study}"
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
                overview = look.now()
    else:
        overview = _print_changes(look, overview, study, every_seconds, console)
    return overview.launch == "ended"


def _print_changes(look: Look, overview: Overview, study: str, every_seconds: float, console: TextConsole) -> Overview:
    """Lines for trials whose state or stage changed, and now and then for all that run."""
    before: dict[str, tuple[str, str]] = {}
    said = 0.0
    while True:
        again = time.monotonic() - said >= PLAIN_EVERY_SECONDS or overview.launch != "alive"
        for one in overview.trials:
            at = (one.state, one.stage)
            known = before.get(one.trial.name, ("waiting", ""))
            before[one.trial.name] = at
            if at != known or (again and one.state == "running"):
                share = "" if one.share is None else f"{one.share:.0%}"
                value = "" if one.value is None else f"validation {one.value:.3f}"
                maker = one.maker and f"made by {one.maker}"
                left = "" if one.seconds_left is None else f"{clock(one.seconds_left)} left"
                parts = (one.trial.name, one.state, one.stage, maker, share, left, value, one.reason)
                console.say("  ".join(filter(None, parts)))
        if again:
            said = time.monotonic()
            for line in headline(overview, study):
                console.say(line)
        if overview.launch != "alive":
            return overview
        time.sleep(every_seconds)
        overview = look.now()
