"""Study files that metsweep writes, and the schema that editors check them by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from search_spaces.json_schema import DIALECT, study_schema
from search_spaces.space_checks import drawable
from search_spaces.study import load_study, read_study, resolve_study, shipped
from search_spaces.text import EXAMPLES, new_study, show_study
from tests.search_spaces.studies import SCHEMA, TEXT, written
from trainers.exceptions import ConfigError


@pytest.mark.parametrize("like", shipped("studies"))
def test_a_new_study_loads_as_the_one_that_it_is_begun_from(tmp_path: Path, like: str) -> None:
    path = written(tmp_path, new_study("mine", like))
    assert load_study(path) == load_study(like).model_copy(update={"name": "mine"})


@pytest.mark.parametrize("like", shipped("studies"))
def test_the_examples_of_a_new_study_may_all_be_used(tmp_path: Path, like: str) -> None:
    path = written(tmp_path, re.sub(r"^# (?!yaml-)", "", new_study("mine", like), flags=re.MULTILINE))
    study = load_study(path)
    unused = {"space"} if study.search.races else set()
    assert EXAMPLES.keys() - read_study(path).values.keys() == unused
    assert study.search.draws is not study.search.races
    assert study.prices.gpu_hour == 2.5
    SCHEMA.validate(read_study(path).values)


def test_a_new_study_needs_a_name_and_a_study_to_begin_from() -> None:
    with pytest.raises(ConfigError, match="name: got 'a b'"):
        new_study("a b", "quickstart")
    with pytest.raises(ConfigError, match="Unknown study 'tabel1'"):
        new_study("mine", "tabel1")


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("name", shipped("studies"))
def test_a_shown_study_is_that_study(tmp_path: Path, name: str, everything: bool) -> None:
    resolved = resolve_study(name, overrides=["gan.learning_rate=1e-5", "synthesis.review=list.csv"])
    assert load_study(written(tmp_path, show_study(resolved, everything))) == resolved.study


def test_a_shown_study_says_where_each_value_comes_from(tmp_path: Path) -> None:
    resolved = resolve_study(written(tmp_path), cohort="other", overrides=["detector.steps=9"])
    shown = show_study(resolved).splitlines()
    assert "cohort: other  # --cohort other" in shown
    assert "  - {variant: cpggan, counts: [4000]}  # study study.yaml:6" in shown
    assert "  steps: 9  # --set detector.steps=9" in shown
    line = shipped("fidelities")["laptop"].read_text().splitlines().index("  batch: 8") + 1
    assert f"  batch: 8  # fidelity laptop.yaml:{line}" in shown
    assert not any("default" in line for line in shown)
    assert "  trials: 40  # default" in show_study(resolved, everything=True).splitlines()


def undescribed(schema: dict[str, Any]) -> list[str]:
    configs = {"Study": schema, **schema["$defs"]}
    return [
        f"{name}.{key}"
        for name, config in configs.items()
        for key, value in config.get("properties", {}).items()
        if "description" not in value
    ]


def test_the_schema_describes_every_key() -> None:
    schema = study_schema()
    assert schema["$schema"] == DIALECT
    jsonschema.Draft202012Validator.check_schema(schema)
    assert not undescribed(schema)
    assert set(schema["properties"]["space"]["properties"]) == {"variant", "count", *drawable()}


@pytest.mark.parametrize("name", shipped("studies"))
def test_every_shipped_study_keeps_to_the_schema(name: str) -> None:
    SCHEMA.validate(read_study(name).values)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("step: 400", "stp: 400"),
        ("step: 400", "step: 0"),
        ("[1e-4, 3e-3]", "[1e-4]"),
        ("gan.learning_rate", "gan.lerning_rate"),
        ("{float: [1e-4, 3e-3], log: true}", "3"),
        ("method: tpe", "method: tpee"),
        ("variant: none", "variant: null"),
        ("name: mine", "name: mine\nvariants: {cpggan: {widht: 1}}"),
        ("name: mine", "name: mine\nvariants: {cpgan: {width: 1}}"),
    ],
)
def test_the_schema_refuses_what_loading_refuses(tmp_path: Path, old: str, new: str) -> None:
    SCHEMA.validate(read_study(written(tmp_path)).values)
    path = written(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError):
        load_study(path)
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate(read_study(path).values)
