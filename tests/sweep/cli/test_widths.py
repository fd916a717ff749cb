"""Tables at the widths of terminals: nothing is cut, and no line is longer than the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from search_spaces.study import load_study
from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.sweep.cli.conftest import STUDY, Metsweep
from tests.sweep.plans import make_plan
from tests.sweep.publishing import cost_of, publish_empty

TABLES: Sequence[tuple[tuple[str, ...], tuple[str, ...]]] = (
    (("status", STUDY), ("cpggan 4 seed 0", "cpggan 4 seed 1", "none seed 0", "waiting")),
    (("plan", STUDY), ("cpggan", "evaluate", "synthesize", "realism")),
    (("store", "ls"), ("prepare", "detector", "variant=cpggan")),
    (("study", "list"), ("quickstart", "count_curve", "table1")),
)


@pytest.fixture
def made(study_file: Path) -> Path:
    """The study with one stage of each name but the last in the store."""
    store, names = Store(study_file.parent / "metsweep-store"), set[str]()
    study = load_study(str(study_file))
    StudyRecord(store, study.name).keep_study(study)
    for stage in make_plan(study).stages.values():
        if stage.name not in (*names, "evaluate"):
            names.add(stage.name)
            publish_empty(store, stage, cost_of(60, cpus=1))
    return study_file


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize(("command", "words"), TABLES, ids=lambda value: " ".join(value[:2]))
def test_nothing_is_cut(
    metsweep: Metsweep, monkeypatch: pytest.MonkeyPatch, width: int, command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    ended = metsweep(*command)
    assert ended.code == 0, ended.err
    assert "…" not in ended.out
    drawn = [line for line in ended.out.splitlines() if re.match(r"[─-╿]", line)]
    assert all(len(line) <= width for line in drawn)
    for word in words:
        assert word in ended.out
