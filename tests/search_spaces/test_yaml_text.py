"""YAML as studies are written in it: one meaning, and bounded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.study import load_study, read_study, resolve_study
from search_spaces.text import show_study
from tests.search_spaces.studies import SCHEMA, TEXT, written
from trainers.exceptions import ConfigError
from trainers.yaml_text import MOST_VALUES, parse_yaml, to_yaml


def parsed(text: str) -> Any:
    return parse_yaml(text, lambda line: f"study.yaml:{line}")[0]


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parsed(text)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("TRUE", True),
        ("0o17", 15),
        ("0x1F", 31),
        ("-0", 0),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("08.5", 8.5),
        ("2026-11-28", "2026-11-28"),
        ("2026-13-45", "2026-13-45"),
        ("=", "="),
        ("'1:30'", "1:30"),
        ("a:b", "a:b"),
        ("1_a", "1_a"),
        ("~", None),
        ("", None),
        ("NA", "NA"),
    ],
)
def test_the_core_schema(text: str, value: object) -> None:
    got = parsed(f"[a, {text}]")[1:] if text else [parsed(text)]
    assert got == [value]
    assert type(got[0]) is type(value)
    assert parsed(to_yaml({"a": value})) == {"a": value}


@pytest.mark.parametrize(
    "text", ["1:30", "-1:30:00.5", "017", "+00", "09", "1_000", "1_0.5", "0x_1F", "0b101", "1_0e3"]
)
def test_what_yaml_1_1_reads_as_another_number_is_refused_with_its_line(text: str) -> None:
    assert refusal(f"a: 1\nb: [1,\n {text}]") == (
        f"study.yaml:3: {text} is one number in YAML 1.1 and another, or text, in YAML 1.2. "
        "Write it in plain digits, or text in quotes."
    )
    assert parsed(f"'{text}'") == text
    assert yaml.safe_load(to_yaml({"a": text})) == parsed(to_yaml({"a": text})) == {"a": text}


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 8))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 8))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 5000))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "holds more than 50,000 values, aliases followed"),
        (MERGES, "holds more than 50,000 values, aliases followed"),
        (CHAIN, "nested deeper than 20 levels, aliases followed"),
        ("a: " + "[" * 100_000, "study.yaml:1: not valid YAML: nested deeper than 20 levels"),
        ("a: [" + "1," * 200_000 + "]", "holds more than 50,000 values"),
        ("a:\n  b: &b [*b]", "study.yaml:2: not valid YAML: refers to itself"),
        ("a: 1\nb: " + "9" * 5000, "study.yaml:2: not valid YAML: a whole number is beyond 9,223,372,036,854,775,807"),
        ("a: 0x" + "f" * 16, "a whole number is beyond"),
        ("a: !!python/object:os.system [x]", "could not determine a constructor for the tag"),
        ("a: !!timestamp 2026-13-45", "could not determine a constructor for the tag"),
        ("a: !!int x", "'x' is no whole number"),
        ("a: !!int '1_000'", "'1_000' is no whole number"),
        ("a: !!float [1]", "expected a scalar node"),
        ("a: !!bool perhaps", "'perhaps' is no true or false"),
        ('a: "\\ud800"', "half of a surrogate pair"),
        ('a: 1\nb: "\\UFFFFFFFF"', "study.yaml:2: not valid YAML: "),
        ("a: \0", "not valid YAML: special characters are not allowed"),
        ("null: 1", "None is not a key"),
        ("1.5: 1", "1.5 is not a key"),
        ("true: 1", "True is not a key"),
        ("4: 1\n0x4: 2", "study.yaml:2: 4: stands here and in line 1; allowed: once"),
        ("4: 1\n'4': 2", "study.yaml:2: 4: stands here and in line 1; allowed: once"),
        ("a: *b", "found undefined alias"),
        ("a: 1\n---\na: 2", "study.yaml:2: not valid YAML"),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    began = time.process_time()
    assert told in refusal(text)
    assert time.process_time() - began < 4


def test_values_that_aliases_repeat_are_counted_once_each() -> None:
    assert (
        len(parsed(f"a: &a [{'1,' * 1000}]\nb: [{'*a,' * (MOST_VALUES // 1002 - 2)}]")["b"]) == MOST_VALUES // 1002 - 2
    )


def test_keys_of_ones_own_are_a_place_for_anchors(tmp_path: Path) -> None:
    own = "x-shared: &shared {steps: 7, batch: 8}\nx-other: [1]\n"
    path = written(tmp_path, own + TEXT.replace("name: mine", "name: mine\ndetector: *shared"))
    assert load_study(path).detector.steps == 7
    assert "x-" not in show_study(resolve_study(path))
    fidelity = tmp_path / "small.yaml"
    fidelity.write_text(own + "detector: {<<: *shared, steps: 9}\nprepare: {size: 64}\ngan: {resolution: 64}\n")
    assert load_study(path, fidelity=str(fidelity)).detector.batch == 8
    SCHEMA.validate({**read_study(path).values, "x-shared": [1]})
    with pytest.raises(ConfigError, match=r"detector\.x-own: unknown key"):
        load_study(path, overrides=["detector.x-own=1"])


def test_a_byte_order_mark_is_skipped_and_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(TEXT, encoding="utf-8-sig")
    assert load_study(str(path)).name == "mine"
    path.write_text(TEXT.replace("mine", "m\xe9tastase"), encoding="latin-1")
    with pytest.raises(ConfigError, match=r"study\.yaml, line 1: cannot be read as UTF-8"):
        load_study(str(path))


def test_options_are_read_as_files_are() -> None:
    with pytest.raises(ConfigError, match=r"--set 'budget\.wall_hours=1:30': 1:30 is one number"):
        load_study("table1", overrides=["budget.wall_hours=1:30"])
    with pytest.raises(ConfigError, match="stands here and in line 1"):
        load_study("table1", overrides=["budget={wall_hours: 1, wall_hours: 2}"])
    with pytest.raises(ConfigError, match="the key has 3001 parts"):
        load_study("table1", overrides=[".".join(["a"] * 3001) + "=1"])
