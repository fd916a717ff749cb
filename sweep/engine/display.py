"""Shows a sweep's progress: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from rich.live import Live

from sweep.console import TextConsole, TextTable
from sweep.engine.cluster import Capacity
from sweep.plan import Plan
from sweep.store import Store
from sweep.studies.pace import Pace
from sweep.studies.progress import StageProgress, StageState, clock

PLAIN_EVERY_SECONDS = 120.0
"""How often a summary is printed where output is no terminal."""
SHOWN_AFTER_SECONDS = 30.0
"""There, the start of a stage is printed only if the stage takes longer; the end of every stage is printed."""
LEFT_EVERY_SECONDS = 10.0
"""How often the time left of the launch is estimated; less often where the estimate itself takes long."""
MOST_NAMED = 3
"""Most stages of a state that are named; of more, only the number is shown."""
SUMMED_UP = ("failed", "stopped", "done")
UNSEEN = ("waiting", *SUMMED_UP)
"""States of stages without a row: most waiting stages lack their inputs."""


class Display:
    """Which stages run, for which trials, how far they are and how long they take; of the others the number.

    Args:
        plan: of the study, with the cells drawn so far.
        console: where to draw.
        store: holds what is done, and how long earlier stages took.
        capacity: of the cluster that the study runs on.
    """

    def __init__(self, plan: Plan, console: TextConsole, store: Store, capacity: Capacity) -> None:
        self._plan = plan
        self._console = console
        self._store = store
        self._capacity = capacity
        self._pace: Pace | None = None
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._began = time.monotonic()
        self._states: dict[str, StageState] = {}
        self._since: dict[str, float] = {}
        self._begun: set[str] = set()
        self._said = -PLAIN_EVERY_SECONDS
        self._evaluated: set[str] = set()
        self._left: float | None = None
        self._left_next = -math.inf

    def start(self) -> None:
        """Begin to draw."""
        if self._live:
            self._live.start()

    def stop(self) -> None:
        """Stop drawing; the last picture stays."""
        if self._live:
            self._live.stop()

    def follow(self, plan: Plan) -> None:
        """Show another plan from now on: a search has drawn more cells."""
        if plan is not self._plan:
            self._plan = plan
            self._pace = None

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._say(line)

    def show(self, stages: Mapping[str, StageProgress]) -> None:
        """Draw what the board holds now."""
        self._estimate(stages)
        if self._live:
            self._live.update(self._table(stages))
        else:
            self._print_changes(stages)

    def _table(self, stages: Mapping[str, StageProgress]) -> TextTable:
        table = TextTable(title=self._headline(stages), title_justify="left", expand=False)
        for column in ("stage", "for", "done", "left", "newest figures"):
            table.add_column(column, justify="right" if column in {"done", "left"} else "left")
        for key, stage in stages.items():
            if stage.state not in UNSEEN:
                table.add_row(stage.label, self._for(key), _share(stage), stage.time_left(), stage.newest_figures())
        table.caption = "\n".join(_summary(stages))
        table.caption_justify = "left"
        return table

    def _print_changes(self, stages: Mapping[str, StageProgress]) -> None:
        now = time.monotonic()
        for key, stage in stages.items():
            who = self._who(key, stage.label)
            if self._states.get(key) != stage.state:
                self._states[key] = stage.state
                began = self._since.get(key, now)
                self._since[key] = now
                if stage.state not in ("waiting", "running"):
                    word = "in" if stage.state == "done" else "after"
                    took = f" {word} {clock(now - began)}" if stage.state in SUMMED_UP else ""
                    state = "damaged, to be made again" if stage.state == "damaged" else stage.state
                    self._say(who, f"{state}{took}")
            elif stage.state == "running" and key not in self._begun and now - self._since[key] >= SHOWN_AFTER_SECONDS:
                self._begun.add(key)
                self._say(who, "running", _share(stage), stage.time_left())
        if now - self._said >= PLAIN_EVERY_SECONDS:
            self._said = now
            running = [stage for stage in stages.values() if stage.state == "running"]
            names = ", ".join(f"{stage.label} {_share(stage)}".strip() for stage in running)
            named = names if len(running) <= MOST_NAMED else f"{len(running):,} stages"
            self._say(self._headline(stages), f"running: {named}" if running else "")

    def _say(self, *parts: str) -> None:
        line = f"[{clock(time.monotonic() - self._began)}] " + "  ".join(filter(None, parts))
        self._console.say(line)

    def _headline(self, stages: Mapping[str, StageProgress]) -> str:
        done = {key for key, stage in stages.items() if stage.state == "done"} | self._evaluated
        ended = sum(trial.evaluate.key in done for trial in self._plan.trials)
        headline = f"{ended:,} of {len(self._plan.trials):,} trials evaluated"
        if to_draw := self._plan.study.search.left_to_draw(self._plan.drawn):
            return f"{headline}, {to_draw:,} cells are yet to be drawn"
        return headline if self._left is None else f"{headline}, about {clock(self._left)} remaining"

    def _estimate(self, stages: Mapping[str, StageProgress]) -> None:
        began = time.monotonic()
        if began < self._left_next:
            return
        done_keys = {name: self._store.keys(name) for name in self._plan.wanted}
        self._evaluated = done_keys.get("evaluate", set())
        first = self._pace is None  # it counts operations, which takes long
        if not self._plan.study.search.left_to_draw(self._plan.drawn):
            if self._pace is None:
                self._pace = Pace(self._plan, self._store, self._capacity.total("CPU"), self._capacity.total("GPU"))
            self._left = self._pace.seconds_left(done_keys, stages)
        took = 0.0 if first else time.monotonic() - began
        self._left_next = began + max(LEFT_EVERY_SECONDS, 20 * took)

    def _who(self, key: str, label: str) -> str:
        """A stage and its trial; the label of a stage that an arm's trial alone needs is the trial's name already."""
        trials, stage = self._for(key), self._plan.stages.get(key)
        return label if stage and label == f"{stage.name} {trials}" else f"{label} (for {trials})"

    def _for(self, key: str) -> str:
        """Which trial a stage works for; a shared stage works for several."""
        users = self._plan.users.get(key, [])
        return users[0].name if len(users) == 1 else f"{len(users):,} trials"


def _summary(stages: Mapping[str, StageProgress]) -> Iterable[str]:
    """One line per state in which nothing moves."""
    numbers = Counter(stage.state for stage in stages.values())
    for state in SUMMED_UP:
        if not numbers[state]:
            continue
        labels = [stage.label for stage in stages.values() if stage.state == state]
        named = f": {', '.join(labels)}" if len(labels) <= MOST_NAMED else ""
        yield f"{numbers[state]:,} {state}{named}"


def _share(stage: StageProgress) -> str:
    return f"{stage.done / stage.total:.0%}" if stage.total else ""
