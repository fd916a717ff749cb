"""`metsweep study`: files to edit, and what there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search_spaces.json_schema import study_schema
from search_spaces.study import load_study, shipped
from tests.sweep.cli.conftest import Metsweep, row


@pytest.mark.parametrize("like", ["quickstart", "count_curve"])
def test_a_new_study_is_planned(metsweep: Metsweep, cohort: Path, like: str) -> None:
    ended = metsweep("study", "new", "mine", "--like", like)
    assert ended.code == 0, ended.err
    assert "metsweep plan mine.yaml" in ended.out
    ended = metsweep("plan", "mine.yaml", "--cohort", cohort)
    assert ended.code == 0, ended.err


def test_a_file_that_is_there_is_never_written_over(metsweep: Metsweep) -> None:
    Path("mine.yaml").write_text("precious")
    ended = metsweep("study", "new", "mine")
    assert (ended.code, ended.out) == (2, "")
    assert "mine.yaml already exists" in ended.err
    assert Path("mine.yaml").read_text() == "precious"
    for out, told in (("mine.txt", "end in .yaml"), ("nowhere/mine.yaml", "cannot be written")):
        ended = metsweep("study", "new", "mine", "--out", out)
        assert ended.code == 2
        assert told in ended.err


@pytest.mark.parametrize("out", [(), ("--out", "mine.yaml")])
def test_a_new_study_does_not_take_the_name_of_a_shipped_one(metsweep: Metsweep, out: tuple[str, ...]) -> None:
    ended = metsweep("study", "new", "quickstart", *out)
    assert ended.code == 2
    assert "name: 'quickstart' is a shipped study" in ended.err
    assert "Choose another name, e.g. my_quickstart." in ended.err
    assert not list(Path.cwd().iterdir())


def test_shipped_studies_are_listed(metsweep: Metsweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    ended = metsweep("study", "list")
    assert ended.code == 0, ended.err
    for name in shipped("studies"):
        assert row(ended.out, name)[1] == load_study(name).fidelity
    assert row(ended.out, "table1") == ["table1", "paper", "10", "-", "3", "The ten arms of the paper's Table 1."]
    assert row(ended.out, "count_curve")[2:5] == ["1", "20", "1"]


def test_a_study_is_shown_with_what_the_command_line_sets(metsweep: Metsweep) -> None:
    ended = metsweep("study", "show", "quickstart", "--set", "gan.learning_rate=1e-4", "--fidelity", "gpu")
    assert ended.code == 0, ended.err
    assert "  learning_rate: 0.0001  # --set gan.learning_rate=1e-4\n" in ended.out
    assert "fidelity: gpu  # --fidelity gpu\n" in ended.out
    Path("shown.yaml").write_text(ended.out)
    assert load_study("shown.yaml") == load_study("quickstart", fidelity="gpu", overrides=["gan.learning_rate=1e-4"])
    assert "# default" in metsweep("study", "show", "quickstart", "--all").out


def test_the_schema_is_printed_and_written(metsweep: Metsweep) -> None:
    assert json.loads(metsweep("study", "schema").out) == study_schema()
    assert metsweep("study", "schema", "--out", "schema.json").code == 0
    assert json.loads(Path("schema.json").read_text()) == study_schema()
    assert metsweep("study", "schema", "--out", "nowhere/schema.json").code == 2
