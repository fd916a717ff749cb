"""What a race has seen of its arms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.study import Study
from sweep.text import count_text
from trainers.variants import REAL_ONLY

if TYPE_CHECKING:  # scipy, which a plan needs only for a race
    from sweep.plan.trial import Trial
    from trainers.evaluation.bootstrap import Interval
    from trainers.evaluation.comparison import Comparison
    from trainers.evaluation.sequential import Decision


@dataclass(frozen=True)
class ArmAtLook:
    """What a look saw of an arm."""

    comparison: Comparison
    """With the base, over the seeds of the look."""
    reach: float
    """Half the width of the repeated confidence interval; infinite where nothing can be shown yet."""
    decision: Decision

    @property
    def interval(self) -> Interval:
        """The repeated confidence interval, which holds at all looks at once; no difference is beyond 1."""
        from trainers.evaluation.bootstrap import Interval

        low, high = self.comparison.difference - self.reach, self.comparison.difference + self.reach
        return Interval(max(low, -1.0), min(high, 1.0))


@dataclass(frozen=True)
class Look:
    """A look at all arms that were open when they had so many seeds."""

    seeds: int
    arms: Mapping[str, ArmAtLook]
    collapsed: tuple[str, ...] = ()
    """Names of the trials behind it whose detectors collapsed (`trainers.evaluation.collapse`)."""


def last_looks(looks: Sequence[Look]) -> dict[str, tuple[int, ArmAtLook]]:
    """Arm -> seeds at the last look at it, and what that saw."""
    return {arm: (look.seeds, seen) for look in looks for arm, seen in look.arms.items()}


def look_text(study: Study, look: Look) -> str:
    """What one look saw, for a line of progress."""
    seen = "; ".join(f"{arm} {figures_text(at)}, {decision_text(at.decision, study)}" for arm, at in look.arms.items())
    return f"Look at {look.seeds} seeds: {seen}.{collapsed_text([look])}"


def race_text(study: Study, looks: Sequence[Look]) -> str:
    """How a race stands: every arm by what is decided of it, at its last look."""
    from trainers.evaluation.sequential import Decision

    most = study.search.most_seeds
    arms: dict[str, list[str]] = {}
    for arm, (seeds, at) in last_looks(looks).items():
        ended = at.decision == Decision.OPEN and seeds == most
        word = f"not decided with {most} seeds" if ended else decision_text(at.decision, study)
        arms.setdefault(word, []).append(f"{arm} {figures_text(at)} ({seeds} seeds)")
    decided = "; ".join(f"{word}: {', '.join(named)}" for word, named in arms.items())
    return (
        f"Race for gains in test sensitivity over {REAL_ONLY} at IoU {study.evaluation.ious[0]:g}, after "
        f"{count_text(len(looks), 'look')}: {decided}. Brackets hold for all looks and arms together."
        f"{collapsed_text(looks)}"
    )


def held_up_text(trials: Sequence[Trial]) -> str:
    """A sentence on what holds up a race (`Plan.held_up_by`), after a blank; nothing if nothing does."""
    if not trials:
        return ""
    arms, names = dict.fromkeys(trial.cell for trial in trials), ", ".join(trial.name for trial in trials)
    held_up = "any arm" if REAL_ONLY in arms else ", ".join(arms)
    return f" No further look at {held_up} without trials that failed or were stopped (metsweep retry): {names}."


def collapsed_text(looks: Sequence[Look]) -> str:
    """A sentence that names the collapsed detectors that some looks judged, after a blank; nothing without any."""
    collapsed = dict.fromkeys(name for look in looks for name in look.collapsed)
    return f" Collapsed detectors, included in these gains: {', '.join(collapsed)}." if collapsed else ""


def decision_text(decision: Decision, study: Study) -> str:
    """A decision in words."""
    from trainers.evaluation.sequential import Decision

    return {
        Decision.OPEN: "open",
        Decision.WORSE: "worse",
        Decision.BETTER: "better",
        Decision.WITHIN: f"within ±{study.search.gain:g}",
        Decision.UNDECIDABLE: "undecidable, as more seeds would not help but more test patients would",
    }[decision]


def figures_text(at: ArmAtLook) -> str:
    """`+0.052 [+0.010, +0.094]`; without the interval where nothing can be shown yet."""
    low, high = at.interval
    bounds = f" [{low:+.3f}, {high:+.3f}]" if math.isfinite(at.reach) else ""
    return f"{at.comparison.difference:+.3f}{bounds}"
