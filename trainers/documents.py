"""Texts, JSON documents and CSV tables that people hand in: read within bounds, and refused with file and line.

What the formats leave open is decided here, once: a key that occurs twice is refused, since the last would silently
win; a byte order mark is skipped; a table's separator is the comma, the semicolon or the tab, whichever its first
line holds most of; a line with more or fewer fields than the first is refused, since its fields would be others.
"""

from __future__ import annotations

import csv
import io
import json
import re
import reprlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import TypeAdapter, ValidationError

from trainers.exceptions import MetsweepError

Error = type[MetsweepError]
T = TypeVar("T")

KIB, MIB = 2**10, 2**20
LARGEST_TABLE = 32 * MIB
"""Bytes of a CSV file: about a million lines."""
DEEPEST = 50
"""Nesting of a JSON document; readers of deeper ones run out of stack."""
DIGITS = 18
"""Digits of a whole number: more do not fit the 64 bits of every other program."""
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Characters that no line of text holds."""
_STRING_OR_END = re.compile(r'"(?:[^"\\]|\\.)*"|}', re.DOTALL)
_SURROGATE = re.compile(r"[\ud800-\udfff]")

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 200
_shown.maxlong = 40


def shown(value: Any) -> str:
    """A value as messages show it: in Python's form, long and deep values shortened."""
    return _shown.repr(value)


def why(error: Exception) -> str:
    """In a line what is wrong; of pydantic's many complaints the first."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    return " ".join(f"{f'{shown(key)}: ' if key else ''}{first['msg']}".split())


def parsed(content: str | bytes, model: type[T], where: Path | str, error: Error, remedy: str) -> T:
    """What a JSON document that metsweep wrote holds; an `error` that names its place and the key if it does not fit.

    Args:
        model: what the document must hold: a config, a dataclass, a typed dictionary or a mapping of them.
        remedy: a sentence: what to do about damage.
    """
    try:
        return _adapter(model).validate_json(content)
    except ValidationError as reason:
        raise error(f"{where} is damaged: {why(reason)}. {remedy}") from reason


@cache
def _adapter(model: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(model)


def _read_up_to(file: BinaryIO, most: int) -> bytes:
    """In pieces: asked for at once, so much memory would be taken whether the file holds it or not."""
    pieces: list[bytes] = []
    while most > 0 and (piece := file.read(min(most, MIB))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _size(number: int) -> str:
    return f"{number // MIB} MiB" if number >= MIB else f"{number // KIB} KiB"


def read_text(path: Path, error: Error, most: int) -> str:
    """The content of a UTF-8 text file, without its byte order mark.

    Args:
        path: a file, or a pipe; at most `most` bytes are read.
        error: what is raised.
        most: bytes allowed.

    Raises:
        MetsweepError: of the class `error`: it cannot be read, is too large, or is no text; names file and line.
    """
    try:
        if path.is_char_device() or path.is_block_device():
            raise error(f"{path} cannot be read: it is a device; needed: a file.")
        with path.open("rb") as file:
            content = _read_up_to(file, most + 1)
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror}).") from None
    except ValueError as reason:  # a name with NUL or half of a surrogate pair
        raise error(f"{shown(str(path))} cannot be read ({reason}).") from None
    if len(content) > most:
        raise error(f"{path} is larger than {_size(most)}; allowed: up to that. Is it the right file?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        line = content.count(b"\n", 0, reason.start) + 1
        raise error(
            f"{path}, line {line}: cannot be read as UTF-8 ({reason.reason}); save the file as UTF-8."
        ) from None
    if found := CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise error(f"{path}, line {line}: holds the control character {found[0]!r}; allowed: text. Remove it.")
    return text


def read_json(path: Path, error: Error, most: int) -> Any:
    """The content of a JSON file; `error` and `most` as in `read_text`.

    Raises:
        MetsweepError: of the class `error`: as `read_text`, it is not valid JSON, holds a key twice in one mapping, is
            nested too deeply, or holds a whole number or a text that other programs cannot; names file and line or key.
    """
    text = read_text(path, error, most)
    ended = 0

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal ended
        ended += 1
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for position, key in enumerate(keys) if key in keys[:position])
            raise error(
                f"{path}, line {_line_of(text, twice, ended)}: the key {shown(twice)} occurs twice in "
                f"{shown(made)}; allowed: once. Remove one."
            )
        return made

    def whole(digits: str) -> int:
        if len(digits.lstrip("-")) > DIGITS:
            line = text.count("\n", 0, text.find(digits)) + 1
            raise error(f"{path}, line {line}: a whole number has {len(digits)} digits; allowed: up to {DIGITS}.")
        return int(digits)

    try:
        content = json.loads(text, object_pairs_hook=mapping, parse_int=whole)
    except json.JSONDecodeError as reason:
        raise error(f"{path}, line {reason.lineno}: not valid JSON ({reason.msg}).") from None
    except RecursionError:
        raise error(f"{path}: not valid JSON: nested deeper than {DEEPEST} levels.") from None
    _refuse_strange(content, path, error)
    return content


def refuse_repeated(
    path: Path, field: str, marks: Iterable[Hashable], named: Callable[[int], str], error: Error, remedy: str
) -> None:
    """Refuse records of a file of which two have the same mark.

    Args:
        field: word for a mark in messages.
        marks: one per record; None = it has none.
        named: number of a record, from 0 -> what messages call it.

    Raises:
        MetsweepError: of the class `error`; names both records.
    """
    first_with: dict[Hashable, int] = {}
    for number, mark in enumerate(marks):
        if mark is not None and (first := first_with.setdefault(mark, number)) != number:
            raise error(f"{path}: {named(number)} has the {field} of {named(first)}; allowed: once. {remedy}")


def read_table(
    path: Path, error: Error, needed: Sequence[str], optional: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a CSV file after the first: number in the file, and column -> cell without spaces around it.

    Args:
        path: as in `read_text`.
        error: what is raised.
        needed: columns that the table must have.
        optional: columns that it may have besides; None = any.

    Raises:
        MetsweepError: of the class `error`: as `read_text`, it lacks a column, has an unknown one or one twice, or a
            line has more or fewer fields than the first; names file and line.
    """
    text = read_text(path, error, LARGEST_TABLE)
    separator = max(",;\t", key=text.lstrip().partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=separator, skipinitialspace=True, strict=True)
    columns: list[str] | None = None
    before = 0
    try:
        for row in reader:
            line, before = before + 1, reader.line_num
            cells = [cell.strip() for cell in row]
            if not any(cells) and len(cells) < 2:
                continue
            if before > line:
                raise error(f"{path}, line {line}: a field continues into line {before}; is a quotation mark missing?")
            if columns is None:
                columns = cells
                _check_columns(f"{path}, line {line}", error, columns, needed, optional)
            elif len(cells) != len(columns):
                raise error(
                    f"{path}, line {line}: has {len(cells)} fields, {shown(cells)}; allowed: {len(columns)} cells, as "
                    f"in the first line: {', '.join(columns)}."
                )
            else:
                yield line, dict(zip(columns, cells, strict=True))
    except csv.Error as reason:
        raise error(f"{path}, line {before + 1}: cannot be read as CSV ({reason}).") from None
    if columns is None:
        raise error(f"{path}, line 1: got no columns; needed: {', '.join(needed)}.")


def _check_columns(
    where: str, error: Error, columns: list[str], needed: Sequence[str], optional: Sequence[str] | None
) -> None:
    missing = set(needed) - set(columns)
    unknown = set() if optional is None else set(columns) - {*needed, *optional}
    if missing or unknown or len(set(columns)) < len(columns):
        besides = "any, each once" if optional is None else f"{', '.join(optional)}, each once"
        lacks = f"; lacks the columns {', '.join(name for name in needed if name in missing)}" if missing else ""
        raise error(
            f"{where}: got the columns {', '.join(columns)}{lacks}; needed: {', '.join(needed)}; allowed besides: "
            f"{besides}."
        )


def _line_of(text: str, key: str, ended: int) -> int:
    """Line of a key in the mapping of JSON whose end is number `ended` of the text's."""
    ends = (found.start() for found in _STRING_OR_END.finditer(text) if found[0] == "}")
    end = next(end for number, end in enumerate(ends, start=1) if number == ended)
    return text.count("\n", 0, max(text.rfind(json.dumps(key, ensure_ascii=False), 0, end), 0)) + 1


def _refuse_strange(content: Any, path: Path, error: Error) -> None:
    """Refuse text that is no Unicode, which nothing can be written to a file with, and deep nesting."""
    left: list[tuple[tuple[Any, ...], Any]] = [((), content)] if isinstance(content, dict | list) else []
    while left:
        at, value = left.pop()
        if len(at) > DEEPEST:
            raise error(f"{path}: {'.'.join(map(str, at[:3]))}: nested deeper than {DEEPEST} levels.")
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, dict | list):
                left.append(((*at, key), inner))
            for text in (key, inner):
                if isinstance(text, str) and not text.isascii() and _SURROGATE.search(text):
                    where = ".".join(ascii(part).strip("'") for part in (*at, key))
                    raise error(
                        f"{path}: {where} holds {text!a}, of which a part is no character (half of a surrogate pair); "
                        "allowed: text."
                    )
