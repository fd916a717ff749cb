"""Ways to damage an input: of any bytes, of lines of text, of the keys of JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.harness import Damage


def flip(content: bytes, random: Random) -> bytes:
    """One bit turned."""
    at = random.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]


def delete(content: bytes, random: Random) -> bytes:
    """Up to eight bytes gone."""
    at = random.randrange(len(content))
    return content[:at] + content[at + random.randint(1, 8) :]


def insert(content: bytes, random: Random) -> bytes:
    """Up to eight strange bytes more."""
    at = random.randint(0, len(content))
    return content[:at] + random.randbytes(random.randint(1, 8)) + content[at:]


def truncate(content: bytes, random: Random) -> bytes:
    """Cut off anywhere, at the very beginning, too."""
    return content[: random.randrange(len(content))]


def repeat(content: bytes, random: Random) -> bytes:
    """A part written twice."""
    begin = random.randrange(len(content))
    end = begin + random.randint(1, 64)
    return content[:end] + content[begin:end] + content[end:]


BYTES: dict[str, Damage] = {
    "flip": flip,
    "delete": delete,
    "insert": insert,
    "truncate": truncate,
    "repeat": repeat,
}
"""For any file."""

STRANGE = [
    b"", b" ", b"0", b"-1", b"0.1", b"1e999", b"-1e999", b"1e-400", b"9" * 5000, b"1" + b"0" * 30, b"nan", b"inf",
    b"null", b"NA", b"true", b"on", b"1:30", b"0x1F", b"017", b"1_000",
    b"[", b"{", b"]", b"}", b'"', b"'", b",", b";", b":", b"#", b"- ", b"[" * 3000, b'{"a":' * 3000,
    b"&a", b"*a", b"<<: *a", b"!!python/object:os.system", b"%YAML 1.1", b"---",
    b"\\ud800", b"\\u0000", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x1b[31m", b"\t", b"\r\n", b"\n",
    "\N{EM SPACE}".encode(), "\N{RIGHT-TO-LEFT OVERRIDE}".encode(),
    b"[/b]", b"[red]", b"a" * 300, b"../" * 20, b"/dev/zero", b"/proc/self/mem", b"~",
]  # fmt: skip
"""Words that readers of text stumble over."""


def word(content: bytes, random: Random) -> bytes:
    """A word replaced by a strange one."""
    words = list(re.finditer(rb"[^\s,:;{}\[\]\"]+", content))
    found = random.choice(words)
    return content[: found.start()] + random.choice(STRANGE) + content[found.end() :]


def between(content: bytes, random: Random) -> bytes:
    """A strange word put in anywhere."""
    at = random.randint(0, len(content))
    return content[:at] + random.choice(STRANGE) + content[at:]


def line_gone(content: bytes, random: Random) -> bytes:
    """A line left out."""
    lines = content.splitlines(keepends=True)
    del lines[random.randrange(len(lines))]
    return b"".join(lines)


def line_twice(content: bytes, random: Random) -> bytes:
    """A line written twice, the second time anywhere after the first."""
    lines = content.splitlines(keepends=True)
    which = random.randrange(len(lines))
    lines.insert(random.randint(which + 1, len(lines)), lines[which])
    return b"".join(lines)


TEXT: dict[str, Damage] = BYTES | {
    "word": word,
    "between": between,
    "line gone": line_gone,
    "line twice": line_twice,
}
"""For files of text."""


def key_twice(content: bytes, random: Random) -> bytes:
    """A key of JSON written twice, the second time with the value of another key."""
    places: list[dict[str, Any]] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            if len(value) > 1:
                places.append(value)
            for one in value.values():
                collect(one)
        elif isinstance(value, list):
            for one in value:
                collect(one)

    document = json.loads(content)
    collect(document)
    place = random.choice(places)
    key, other = random.sample(list(place), 2)
    place["\0"] = place[other]
    return json.dumps(document).replace('"\\u0000"', json.dumps(key)).encode()


def field_more(content: bytes, random: Random) -> bytes:
    """A line of a table with a field more."""
    return _changed(content, random, lambda fields, at: fields.insert(at, str(random.randrange(60))))


def field_less(content: bytes, random: Random) -> bytes:
    """A line of a table with a field less."""
    return _changed(content, random, lambda fields, at: fields.pop(min(at, len(fields) - 1)))


def _changed(content: bytes, random: Random, change: Callable[[list[str], int], Any]) -> bytes:
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = random.choice(rows[1:])
    change(row, random.randint(0, len(row)))
    return "\n".join(",".join(row) for row in rows).encode()


TABLE: dict[str, Damage] = TEXT | {"field more": field_more, "field less": field_less}
DOCUMENT: dict[str, Damage] = TEXT | {"key twice": key_twice}
