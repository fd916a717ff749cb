"""Text from outside stays text, and tables show all of it at every width."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from rich.measure import Measurement

from sweep.console import TextConsole, TextTable
from sweep.text import count_text, visible
from tests.source_files import ROOT, modules

HOSTILE = ("[/b]", "[red]x", "Prisma [siemens]", ":smile:", "\x1b[2J", "\x9b2J", "a\rb", "\u202egpj.exe", "\udcff")


def shown(renderable: object, width: int = 120, terminal: bool = False) -> str:
    file = io.StringIO()
    TextConsole(file, width=width, force_terminal=terminal).print(renderable)
    return file.getvalue()


def table_of(*cells: str) -> TextTable:
    table = TextTable(title=cells[0], caption=cells[-1])
    for number, cell in enumerate(cells):
        table.add_column(f"{number} {cell}")
    table.add_row(*cells)
    return table


def test_tables_of_columns_and_rows_have_their_first_column_on_the_left() -> None:
    columns = TextTable.of("title", ("arm", "gain", "why"), [("none", "1", "x")]).columns
    assert [column.justify for column in columns] == ["left", "right", "right"]
    columns = TextTable.of(None, ("arm", "gain", "why"), left=("arm", "why"), whole=("why",)).columns
    assert [(column.justify, column.no_wrap) for column in columns] == [
        ("left", False),
        ("right", False),
        ("left", True),
    ]


@pytest.mark.parametrize(("number", "text"), [(1, "1 box"), (0, "0 boxes"), (1200, "1,200 boxes")])
def test_a_number_has_its_noun_in_singular_or_plural(number: int, text: str) -> None:
    assert count_text(number, "box", "boxes") == text
    assert count_text(number, "cell") == text.replace("boxes", "cells").replace("box", "cell")


def test_files_get_no_blanks_at_the_end_of_lines_and_lists_an_empty_line() -> None:
    table = table_of("short", "another")
    table.add_row("a longer cell", "x")
    for width in (20, 120):
        lines = shown(table, width).splitlines()
        assert lines == [line.rstrip() for line in lines]
    rows = shown(table_of("Unbreakable_text_of_a_cell", "y"), 20).split("\n\n")
    assert len(rows) == 2, "an empty line between the rows and what follows them"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("width", [20, 120])
def test_what_comes_from_outside_is_shown_as_it_is(text: str, width: int) -> None:
    assert shown(text).strip() == visible(text)
    table = shown(table_of(text, "plain"), width)
    assert table.count(visible(text)) == 3, "title, column and cell"
    with_terminal = shown(table_of(text, "plain"), width, terminal=True)
    assert "\x1b[2J" not in with_terminal
    assert visible(text) in with_terminal


def test_control_characters_are_escaped_and_others_left() -> None:
    assert visible("\x1b[2J \x07 \u202e \udcff") == r"\x1b[2J \x07 \u202e \udcff"
    assert visible("Zürich\t腫瘍\nnext 🧠") == "Zürich\t腫瘍\nnext 🧠"


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_table_cuts_a_word(width: int) -> None:
    words = ("cpggan+normal", "2026-11-27T10:10", "metsweep-detector", "champion", "0.355")
    text = shown(table_of(*words), width)
    assert max(map(len, text.splitlines())) <= width
    for word in words:
        assert word in text
    assert "…" not in text
    listed = "0 cpggan+normal: cpggan+normal" in " ".join(text.split())
    assert listed == (width < 80)


def test_a_column_may_keep_its_cells_on_one_line() -> None:
    table = TextTable("trial", "why")
    table.columns[0].no_wrap = True
    table.add_row("cpggan 4 seed 0", "a long reason " * 20)
    assert "cpggan 4 seed 0" in shown(table, 40)


def test_a_table_without_rows_or_columns_is_shown() -> None:
    assert "trial" in shown(TextTable("trial"))
    assert shown(TextTable()).strip() == ""
    assert Measurement.get(TextConsole(), TextConsole().options, TextTable("trial")).maximum > 0


def _calls(file: Path) -> list[str]:
    return [ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]


def test_nothing_reads_text_as_markup() -> None:
    """All is printed by what knows text from outside: by `sweep.console` and `sweep.cli.talk`."""
    allowed = {
        ROOT / "sweep" / "cli" / "__init__.py": {"print"},
        ROOT / "sweep" / "engine" / "cluster.py": {"print"},
        ROOT / "sweep" / "cli" / "talk.py": {"typer.echo"},
        ROOT / "sweep" / "cli" / "app.py": {"typer.echo"},
    }
    barred = {"Console", "Table", "Table.grid", "print", "typer.echo", "typer.secho", "rprint", "Text.from_markup"}
    rooms = [file for room in ("search_spaces", "sweep", "dashboards") for file in modules(room)]
    assert len(rooms) > 100
    wrong = {str(file): found for file in rooms if (found := {*_calls(file)} & barred - allowed.get(file, set()))}
    assert not wrong
    source = "\n".join(file.read_text() for file in rooms)
    assert "markup=True" not in source
    assert source.count("TextColumn(") == source.count("markup=False)") > 0


def test_the_scan_sees_calls() -> None:
    file = ROOT / "sweep" / "cli" / "talk.py"
    assert "typer.echo" in _calls(file)
