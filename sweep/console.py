"""Consoles and tables that show text from outside as it is, and cut none of it."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import IO, Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from sweep.text import visible

ANY_WIDTH = 1_000_000
RULED: dict[str, Any] = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
"""Style of a wide table: a single rule below its head."""


class TextConsole(Console):
    """A console to which every string, in tables and titles, too, is text: no markup, no emoji, no control codes.

    Args:
        file: where to write; default: stdout.
        options: others of rich's Console, e.g. `width` in columns; default: the terminal's, or COLUMNS.
    """

    def __init__(self, file: IO[str] | None = None, **options: Any) -> None:
        super().__init__(file=file, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """All printed strings pass here."""
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        """All output passes here; rich pads the last column of tables with blanks, which a file does not need."""
        text = super()._render_buffer(buffer)
        return text if self.is_terminal else re.sub(r" +(?=\n)", "", text)

    def say(self, line: object) -> None:
        """Print a line that the terminal may wrap, but that stays one line in a file."""
        self.print(str(line), soft_wrap=True)


class TextTable(Table):
    """A table whose words are never cut: columns wrap between words; a table that does not fit becomes a list.

    A column with `no_wrap` keeps its cells on one line.
    """

    @classmethod
    def of(
        cls,
        title: str | None,
        columns: Iterable[str],
        rows: Iterable[Iterable[str]] = (),
        *,
        left: Container[str] | None = None,
        whole: Container[str] = (),
        **style: Any,
    ) -> TextTable:
        """A table with its title and caption on the left.

        Args:
            left: titles of the columns that are aligned left; default: the first column alone.
            whole: titles of the columns that do not wrap.
            style: more arguments of `rich.table.Table`.
        """
        table = cls(title=title, title_justify="left", caption_justify="left", **style)
        for i, column in enumerate(columns):
            is_left = i == 0 if left is None else column in left
            table.add_column(column, justify="left" if is_left else "right", no_wrap=column in whole)
        for row in rows:
            table.add_row(*row)
        return table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.columns:
            return
        wide = options.update(max_width=ANY_WIDTH)
        needs = [_needs(console, wide, column) for column in self.columns]
        natural = sum(need.maximum for need in needs)
        for column in self.columns:
            column.width = None
        frame = Measurement.get(console, wide, self).maximum - natural
        room = (self.width or options.max_width) - frame - sum(need.minimum for need in needs)
        if room < 0:
            yield from self._as_list(console)
            return
        for column, width in zip(self.columns, _shared_out(needs, room), strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    def _as_list(self, console: Console) -> RenderResult:
        """A line `title: cell` for every cell that is not empty, and an empty line after every row."""
        if self.title:
            yield _folding(console, self.title)
        titles = [_one_line(console, column.header) for column in self.columns]
        rows = zip(*(column.cells for column in self.columns), strict=True)
        for row in rows:
            for title, cell in zip(titles, row, strict=True):
                if text := _one_line(console, cell):
                    yield _folding(console, f"{title}: {text}" if title else text)
            yield Text()
        if self.caption:
            yield _folding(console, self.caption)


def _needs(console: Console, wide: ConsoleOptions, column: Column) -> Measurement:
    """Columns that a column needs at least, and those that it can use."""
    needs = [Measurement.get(console, wide, cell) for cell in (column.header, *column.cells)]
    most = max(need.maximum for need in needs)
    return Measurement(most if column.no_wrap else max(need.minimum for need in needs), most)


def _shared_out(needs: list[Measurement], room: int) -> list[int]:
    """Widths of the columns, where `room` is left beyond what they need; columns that want little get it first."""
    widths = [need.minimum for need in needs]
    wanting = sorted(range(len(needs)), key=lambda i: needs[i].span)
    for position, i in enumerate(wanting):
        share = min(needs[i].span, room // (len(wanting) - position))
        widths[i], room = widths[i] + share, room - share
    return widths


def _one_line(console: Console, cell: Any) -> str:
    plain = console.render_str(cell).plain if isinstance(cell, str) else str(cell)
    return " ".join(plain.split("\n"))


def _folding(console: Console, text: Any) -> Text:
    shown = console.render_str(str(text))
    shown.overflow = "fold"
    return shown
