"""Ways to damage an SQLite file: its bytes, its pages, and what its tables hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from random import Random
from typing import Any

from tests.fuzz.damage import BYTES
from tests.fuzz.harness import Damage

PAGE = 4096
STRANGE = [None, "", "x", "[/b]", "{", '{"a": 1}', "[1]", "1e999", b"\xff\xfe", -1, 0, 2**62, 1e300, "nan"]
"""What a cell of a table may hold, as SQLite asks for no type."""


def garbage_page(content: bytes, random: Random) -> bytes:
    """A whole page of random bytes."""
    at = PAGE * random.randrange(len(content) // PAGE)
    return content[:at] + random.randbytes(PAGE) + content[at + PAGE :]


def zero_page(content: bytes, random: Random) -> bytes:
    """A whole page of zeros, as after a crash."""
    at = PAGE * random.randrange(len(content) // PAGE)
    return content[:at] + bytes(PAGE) + content[at + PAGE :]


def page_twice(content: bytes, random: Random) -> bytes:
    """A page over another one."""
    begin, at = (PAGE * random.randrange(len(content) // PAGE) for _ in range(2))
    return content[:at] + content[begin : begin + PAGE] + content[at + PAGE :]


def many_flips(content: bytes, random: Random) -> bytes:
    """A hundred bits turned."""
    for _ in range(100):
        content = BYTES["flip"](content, random)
    return content


def text_there(_: bytes, random: Random) -> bytes:
    """No database at all."""
    return b"name: study\n" * random.randint(1, 1000)


def with_sql(change: Callable[[sqlite3.Connection, Random], Any]) -> Damage:
    """A whole database that holds something else."""

    def damage(content: bytes, random: Random) -> bytes:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(content)
            with suppress(sqlite3.IntegrityError):  # a rowid that is text
                change(connection, random)
            connection.commit()
            return connection.serialize()

    return damage


def _table(connection: sqlite3.Connection, random: Random) -> str:
    """A table with rows."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return random.choice([n for n in names if connection.execute(f'SELECT count(*) FROM "{n}"').fetchone()[0]])


def table_gone(connection: sqlite3.Connection, random: Random) -> None:
    connection.execute(f'DROP TABLE "{_table(connection, random)}"')


def rows_gone(connection: sqlite3.Connection, random: Random) -> None:
    connection.execute(f'DELETE FROM "{_table(connection, random)}"')


def strange_cell(connection: sqlite3.Connection, random: Random) -> None:
    table = _table(connection, random)
    column = random.choice([row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')])
    row = random.choice(connection.execute(f'SELECT rowid FROM "{table}"').fetchall())
    connection.execute("PRAGMA ignore_check_constraints = 1")
    connection.execute(
        f'UPDATE OR IGNORE "{table}" SET "{column}" = ? WHERE rowid = ?', (random.choice(STRANGE), row[0])
    )


DATABASE: dict[str, Damage] = BYTES | {
    "garbage page": garbage_page,
    "zero page": zero_page,
    "page twice": page_twice,
    "many flips": many_flips,
    "text": text_there,
    "empty": lambda _, __: b"",
    "table gone": with_sql(table_gone),
    "rows gone": with_sql(rows_gone),
    "strange cell": with_sql(strange_cell),
    "strange cell again": with_sql(strange_cell),
}


SEEN = {"garbage page", "zero page", "truncate", "text", "table gone"}
"""Damage that shows whatever it hits; what lies in a page that fits, SQLite cannot tell from what was written."""
