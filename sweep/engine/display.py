"""Shows a sweep's progress: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sweep.engine.board import StageProgress, clock
from sweep.plan import Plan

PLAIN_EVERY_SECONDS = 15.0


class Display:
    """Which stage, for which trials, how far, how long still."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._began = time.time()
        self._states: dict[str, str] = {}
        self._said = 0.0

    def follow(self, plan: Plan) -> None:
        """The plan has grown."""
        self._plan = plan

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, soft_wrap=True, markup=False)

    def start(self) -> None:
        """Begin to draw."""
        if self._live:
            self._live.start()

    def stop(self) -> None:
        """Leave the last picture standing."""
        if self._live:
            self._live.stop()

    def show(self, stages: Mapping[str, StageProgress]) -> None:
        """Draw what the board holds now."""
        if self._live:
            self._live.update(self._table(stages))
        else:
            self._print_changes(stages)

    def _table(self, stages: Mapping[str, StageProgress]) -> Table:
        table = Table(title=self._headline(stages), title_justify="left", expand=False)
        for column in ("stage", "for", "state", "done", "left", "newest figures"):
            table.add_column(column, justify="right" if column in {"done", "left"} else "left")
        for key, stage in stages.items():
            table.add_row(
                stage.label, self._for(key), stage.state, _share(stage), stage.time_left(), stage.newest_figures()
            )
        return table

    def _print_changes(self, stages: Mapping[str, StageProgress]) -> None:
        now = time.time()
        repeat = now - self._said >= PLAIN_EVERY_SECONDS
        for key, stage in stages.items():
            changed = self._states.get(key) != stage.state
            self._states[key] = stage.state
            if changed or (repeat and stage.state == "running"):
                who = f"{stage.label} (for {self._for(key)})"
                self._say(who, stage.state, _share(stage), stage.time_left(), stage.newest_figures())
        if repeat:
            self._said = now
            self._say(self._headline(stages))

    def _say(self, *parts: str) -> None:
        line = f"[{clock(time.time() - self._began)}] " + "  ".join(filter(None, parts))
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _headline(self, stages: Mapping[str, StageProgress]) -> str:
        ended = sum(_is_done(stages, trial.evaluate.key) for trial in self._plan.trials)
        return f"{ended} of {len(self._plan.trials)} trials evaluated"

    def _for(self, key: str) -> str:
        """Which trial a stage works for; a shared stage works for several."""
        names = [trial.name for trial in self._plan.trials if key in trial.stages]
        return names[0] if len(names) == 1 else f"{len(names)} trials"


def _is_done(stages: Mapping[str, StageProgress], key: str) -> bool:
    return key in stages and stages[key].state == "done"


def _share(stage: StageProgress) -> str:
    return f"{stage.done / stage.total:.0%}" if stage.total else ""
