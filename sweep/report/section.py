"""A table of the report with its note and picture, for every format."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from sweep.text import count_text
from trainers.evaluation.arms import Arm, Estimate
from trainers.evaluation.bootstrap import Interval
from trainers.evaluation.comparison import Comparison
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.outcome import with_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sweep.console import TextTable

MISSING = "-"
KEY_DIGITS = 8
"""Digits of a stage key that name it in a table; `trace.csv` has all of them."""
MOST_KEYS = 12
"""Stage keys that a row of a table shows; the CSV file has all of them."""
_MARKUP = re.compile(r"[\\|*$]|~(?=~)|(?<=\])[(\[:]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<!\w)_|_(?!\w)")
Value = float | int | str | None
"""A value in a CSV file; None and NaN are left empty."""


@dataclass(frozen=True)
class Line:
    """One row."""

    cells: Sequence[str]
    """For people: rounded, with intervals."""
    values: Mapping[str, Value] = field(default_factory=dict)
    """For programs: column -> unrounded value."""
    keys: Sequence[str] = ()
    """Keys of the stages whose artifacts its numbers come from."""

    @property
    def key_names(self) -> dict[str, str]:
        """Key -> its first digits, of the keys that tables show."""
        return {key: key[:KEY_DIGITS] for key in self.keys[:MOST_KEYS]}

    @property
    def more_keys(self) -> list[str]:
        """How many keys are left out, as the text that follows the others."""
        more = len(self.keys) - MOST_KEYS
        return [f"and {more} more"] if more > 0 else []

    @property
    def short_keys(self) -> list[str]:
        """The keys as tables show them."""
        return [*self.key_names.values(), *self.more_keys]


@dataclass(frozen=True)
class Section:
    """One table with its picture."""

    name: str
    """Of its files: `tables/<name>.csv`, `figures/<name>.png`."""
    title: str
    columns: Sequence[str]
    lines: Sequence[Line]
    note: str = ""
    """How the table was made, and its limits."""
    draw: Callable[[], Figure] | None = None
    """Draws its picture."""

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture without a table."""
        return self.draw is not None and not self.lines

    @property
    def rows(self) -> list[Sequence[str]]:
        """The cells of every line."""
        return [line.cells for line in self.lines]

    def table(self) -> TextTable:
        """For the console."""
        from sweep.console import RULED, TextTable

        return TextTable.of(self.title, self.columns, self.rows, caption=self.note or None, **RULED)

    def markdown(self) -> str:
        """Heading, table, note and picture."""
        parts = [f"## {self.title}\n"]
        if self.lines:
            keyed = any(line.keys for line in self.lines)
            rows = [[*line.cells, *([" ".join(line.short_keys)] if keyed else [])] for line in self.lines]
            parts.append(markdown_table([*self.columns, *(["stage keys"] if keyed else [])], rows))
        parts += [f"{self.note}\n"] if self.note else []
        parts += [f"![{self.title}](figures/{self.name}.png)\n"] if self.draw else []
        return "\n".join(parts)

    def csv(self) -> str:
        """The unrounded values, and the whole stage keys."""
        keyed = any(line.keys for line in self.lines)
        values = pd.DataFrame([line.values for line in self.lines], dtype=object)
        keys = {"stage_keys": [" ".join(line.keys) for line in self.lines]} if keyed else {}
        return values.assign(**keys).to_csv(index=False, lineterminator="\n")


def marked(section: Section, mark: str) -> Section:
    """A section whose title and picture bear a mark, e.g. `1 of 2 seeds`; itself without one."""
    if not mark:
        return section
    draw = section.draw

    def drawn() -> Figure:
        assert draw is not None, "only a section with a picture is drawn"
        figure = draw()
        figure.suptitle(". ".join(filter(None, (mark, figure.get_suptitle()))), fontsize=9)
        return figure

    return replace(section, title=f"{section.title} ({mark})", draw=draw and drawn)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, whose cells are text."""
    head, *body = ([in_markdown(cell) for cell in cells] for cells in (columns, *rows))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(columns), *body)) + "\n"


def in_markdown(text: str) -> str:
    """Text that Markdown shows as it is: no cell, link, picture, HTML, formula or emphasis begins or ends in it."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def signed(comparison: Comparison, digits: int = 3) -> str:
    """`+0.100 [+0.020, +0.180]`."""
    low, high = comparison.interval
    bounds = "" if math.isnan(low) else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{comparison.difference:+.{digits}f}{bounds}"


def covers(seeds: int, folds: int | None = None) -> str:
    """What the intervals of a table cover, given the number of seeds per arm, and of folds."""
    return f"Brackets: 95% intervals over {over(seeds, folds)}."


def over(seeds: int, folds: int | None = None) -> str:
    """What is taken as drawn at random, given the number of seeds per arm, and of folds."""
    if folds:
        return "detector seeds and whole folds" if seeds > 1 else "whole folds"
    return "detector seeds and patients" if seeds > 1 else "patients"


def sample_text(comparison: Comparison) -> str:
    """`3 detector seeds, 12 patients with lesions`, with folds `... in 5 folds`."""
    seeds, patients = count_text(comparison.seeds, "detector seed"), count_text(comparison.patients, "patient")
    return f"{seeds}, {patients} with lesions{f' in {comparison.folds} folds' if comparison.folds else ''}"


def estimate_text(estimate: Estimate, digits: int = 3) -> str:
    """`0.670 [0.550, 0.710]`, or the mean alone where its interval is unknown."""
    if math.isnan(estimate.interval.low):
        return f"{estimate.mean:.{digits}f}"
    return with_interval(estimate.mean, estimate.interval, digits)


def measured_texts(arm: Arm) -> list[str]:
    """The figures of Table 1 with their intervals, for people."""
    return [estimate_text(measure.estimate(arm), measure.digits) for measure in TABLE1]


def measured_values(arm: Arm) -> dict[str, Value]:
    """The figures of Table 1 with their intervals as columns of a CSV file."""
    estimates = {measure.name: measure.estimate(arm) for measure in TABLE1}
    return {
        column: value
        for name, estimate in estimates.items()
        for column, value in interval_values(name, estimate.mean, estimate.interval).items()
    }


def p_text(p: float, equals: str = "") -> str:
    """A p value as papers write it: `<0.001`, or the value after `equals`."""
    if math.isnan(p):
        return MISSING
    return "<0.001" if p < 0.001 else f"{equals}{p:.3f}"


def decimal(value: float, digits: int = 3) -> str:
    """A number, or MISSING for NaN."""
    return MISSING if math.isnan(value) else f"{value:,.{digits}f}"


def interval_values(name: str, mean: float, interval: Interval) -> dict[str, Value]:
    """A mean and its interval as columns of a CSV file."""
    return {name: mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
