"""What search_spaces/README.md shows is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from search_spaces.study import load_study, read_study, resolve_study, shipped
from search_spaces.text import show_study
from tests.search_spaces.studies import SCHEMA, written
from trainers.exceptions import ConfigError

README = (Path(__file__).parents[2] / "search_spaces" / "README.md").read_text()


def shown(language: str) -> str:
    """The first code block in a language."""
    return blocks(language)[0]


def blocks(language: str) -> list[str]:
    """All code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_study_loads_and_keeps_to_the_schema(tmp_path: Path) -> None:
    path = written(tmp_path, shown("yaml"))
    assert load_study(path).gan_for("image2image").learning_rate == 5e-4
    SCHEMA.validate(read_study(path).values)


def test_a_search_for_good_slices_loads(tmp_path: Path) -> None:
    _, by_slices = blocks("yaml")
    study = load_study(written(tmp_path, "name: mine\ncohort: c\nfidelity: laptop\n" + by_slices))
    assert study.judges_slices
    assert [figure.label for figure in study.objectives] == ["sliced_wasserstein", "box_fidelity at IoU 0.5"]


def test_mistakes_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown("yaml").replace("step: 400", "stp: 400").replace("[1e-4, 3e-3]", "[3e-3, 1e-4]")
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(text)
    told = []
    for change in (
        ("", ""),
        ("stp: 400", "step: 400"),
        ("[3e-3, 1e-4]", "[1e-4, 3e-3]"),
        ("gan.learning", "gan.lerning"),
    ):
        Path("mine.yaml").write_text(Path("mine.yaml").read_text().replace(*change))
        try:
            load_study("mine.yaml")
        except ConfigError as error:
            told += str(error).splitlines()
    assert set(shown("text").splitlines()) == set(told)


def test_a_study_is_shown_so() -> None:
    command, *lines = shown("console").splitlines()
    text = show_study(resolve_study("count_curve", overrides=["gan.learning_rate=1e-4"]))
    assert lines == text.splitlines()[:16]
    assert command == "$ metsweep study show count_curve --set gan.learning_rate=1e-4 | head -16"


def test_the_python_runs() -> None:
    exec(shown("python"), {})


def test_every_shipped_study_and_fidelity_is_named() -> None:
    for name in (*shipped("studies"), *shipped("fidelities")):
        assert f"| `{name}` |" in README
