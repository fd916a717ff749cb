"""Shows a sweep's progress: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.live import Live

from sweep.console import TextConsole, TextTable
from sweep.engine.cluster import Capacity
from sweep.plan import Plan
from sweep.plan.looks import held_up_text, look_text
from sweep.stages import EvaluateStage
from sweep.store import Store
from sweep.studies.pace import Pace
from sweep.studies.progress import StageProgress, StageState, clock
from sweep.text import count_text

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


@dataclass(eq=False)
class Display:
    """Which stages run, for which trials, how far they are and how long they take; of the others the number."""

    plan: Plan
    """Of the study, with the cells drawn so far."""
    console: TextConsole
    store: Store
    """Holds what is done, and how long earlier stages took."""
    capacity: Capacity
    """Of the cluster that the study runs on."""

    def __post_init__(self) -> None:
        self._pace: Pace | None = None
        self._live = Live(console=self.console, refresh_per_second=4) if self.console.is_terminal else None
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
        """Show another plan from now on: a search has drawn more cells, or a race has taken a look."""
        if plan is not self.plan:
            for look in plan.looks[len(self.plan.looks) :]:
                self.say(look_text(plan.study, look))
            if plan.held_up_by != self.plan.held_up_by:
                self.say(held_up_text(plan.held_up_by).strip())
            self.plan = plan
            self._pace = None

    def say(self, *parts: str) -> None:
        """Print a line that stays."""
        line = f"[{clock(time.monotonic() - self._began)}] " + "  ".join(filter(None, parts))
        self.console.say(line)

    def show(self, stages: Mapping[str, StageProgress]) -> None:
        """Draw what the board holds now."""
        self._estimate(stages)
        if self._live:
            self._live.update(self._table(stages))
        else:
            self._print_changes(stages)

    def _table(self, stages: Mapping[str, StageProgress]) -> TextTable:
        left = ("stage", "for", "newest figures")
        rows = (
            (stage.label, self._for(key), _share(stage), stage.time_left(), stage.newest_figures())
            for key, stage in stages.items()
            if stage.state not in UNSEEN
        )
        columns, below = (*left[:2], "done", "left", *left[2:]), "\n".join(_summary(stages))
        return TextTable.of(self._headline(stages), columns, rows, left=left, caption=below)

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
                    self.say(who, f"{state}{took}")
            elif stage.state == "running" and key not in self._begun and now - self._since[key] >= SHOWN_AFTER_SECONDS:
                self._begun.add(key)
                self.say(who, "running", _share(stage), stage.time_left())
        if now - self._said >= PLAIN_EVERY_SECONDS:
            self._said = now
            running = [stage for stage in stages.values() if stage.state == "running"]
            names = ", ".join(f"{stage.label} {_share(stage)}".strip() for stage in running)
            named = names if len(running) <= MOST_NAMED else f"{len(running):,} stages"
            self.say(self._headline(stages), f"running: {named}" if running else "")

    def _headline(self, stages: Mapping[str, StageProgress]) -> str:
        done = {key for key, stage in stages.items() if stage.state == "done"} | self._evaluated
        ended = sum(trial.evaluate.key in done for trial in self.plan.trials)
        headline = f"{ended:,} of {count_text(len(self.plan.trials), 'trial')} evaluated"
        if to_draw := self.plan.study.search.left_to_draw(self.plan.drawn):
            most = "up to " if self.plan.study.search.patience else ""
            return f"{headline}, {most}{count_text(to_draw, 'cell')} yet to be drawn"
        if self.plan.study.search.races:
            return f"{headline} up to the next look"
        return headline if self._left is None else f"{headline}, about {clock(self._left)} remaining"

    def _estimate(self, stages: Mapping[str, StageProgress]) -> None:
        began = time.monotonic()
        if began < self._left_next:
            return
        done_keys = {name: self.store.keys(name) for name in self.plan.wanted}
        self._evaluated = done_keys.get(EvaluateStage.name, set())
        first = self._pace is None  # it counts operations, which takes long
        if not self.plan.study.search.left_to_draw(self.plan.drawn):
            if self._pace is None:
                self._pace = Pace(self.plan, self.store, self.capacity.total("CPU"), self.capacity.total("GPU"))
            self._left = self._pace.seconds_left(done_keys, stages)
        took = 0.0 if first else time.monotonic() - began
        self._left_next = began + max(LEFT_EVERY_SECONDS, 20 * took)

    def _who(self, key: str, label: str) -> str:
        """A stage and its trials; the label of a detector or evaluation names the arm's trial that it is made for."""
        users = self.plan.users.get(key, [])
        if len(users) == 1 and users[0].number is None:
            evaluate = users[0].evaluate
            if key in (evaluate.key, evaluate.detector.key):
                return label
        return f"{label} (for {self._for(key)})"

    def _for(self, key: str) -> str:
        """Which trial a stage works for; a shared stage works for several."""
        users = self.plan.users.get(key, [])
        return users[0].name if len(users) == 1 else count_text(len(users), "trial")


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
