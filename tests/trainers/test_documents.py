"""Text, JSON and CSV from outside: bounded, and refused with the line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trainers.documents import MIB, read_json, read_table, read_text, shown
from trainers.exceptions import CohortError


def refusal(path: Path, most: int = MIB) -> str:
    with pytest.raises(CohortError) as raised:
        read_json(path, CohortError, most)
    return str(raised.value)


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_what_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "line 2: cannot be read as UTF-8 (invalid continuation byte)" in refusal(written(tmp_path, b"{\n\xe9a}"))
    assert "line 1: cannot be read as UTF-8" in refusal(written(tmp_path, "{}".encode("utf-16")))
    assert "line 3: holds the control character '\\x1b'" in refusal(written(tmp_path, "{\n\n\x1b}"))


def test_what_is_no_file_or_too_large_is_refused(tmp_path: Path) -> None:
    assert "larger than 1 MiB" in refusal(written(tmp_path, b" " * (MIB + 1)))
    assert "it is a device" in refusal(Path("/dev/zero"))
    assert "cannot be read (Is a directory)" in refusal(tmp_path)
    assert "cannot be read (File name too long)" in refusal(tmp_path / ("a" * 300))
    assert "cannot be read" in refusal(tmp_path / "\0")
    assert "cannot be read" in refusal(tmp_path / "\ud800")


def test_a_pipe_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"{}")
    os.close(writer)
    assert read_text(Path(f"/dev/fd/{reader}"), CohortError, MIB) == "{}"
    os.close(reader)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1,\n}', "line 2: not valid JSON"),
        ("[" * 100_000, "nested deeper than 50"),
        ("[" * 60 + "]" * 60, "nested deeper than 50"),
        ('{"a":\n' + "9" * 5000 + "}", "line 2: a whole number has 5000 digits; allowed: up to 18"),
        ('{"a": {"b": 1},\n "b": {"c": "}",\n "c": 2}}', "line 3: the key 'c' occurs twice in {'c': 2}"),
        ('{"a": {"b": "\\ud800"}}', "a.b holds '\\ud800', of which a part is no character"),
        ('{"a": {"\\udc00": 1}}', "a.\\udc00 holds '\\udc00'"),
    ],
)
def test_bad_json_is_refused(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(written(tmp_path, text))


def test_good_json_is_read(tmp_path: Path) -> None:
    content = {"a": [1, -(10**18 - 1), 1.5e300, "\N{GRINNING FACE}", None], "b": {"a": {}}}
    assert read_json(written(tmp_path, "\ufeff" + json.dumps(content)), CohortError, MIB) == content


def test_lines_of_a_table_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    path = written(tmp_path, 'a, b\n\n1,2\r\n"x, y", NA\n')
    assert list(read_table(path, CohortError, ["a"])) == [(3, {"a": "1", "b": "2"}), (4, {"a": "x, y", "b": "NA"})]


def test_what_was_got_is_shown_short() -> None:
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    assert all(len(shown(value)) < 300 for value in ("a" * 10**6, deep, list(range(10**6)), {"a": "b" * 10**6}))
