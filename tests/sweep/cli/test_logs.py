"""`metsweep logs` shows the lines of a study that concern a trial, a kind of stage or a level."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search_spaces.study import load_study
from sweep.plan import Plan
from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.sweep.cli.conftest import STUDY, Metsweep
from tests.sweep.plans import make_plan

NAME = "logs/small/20260101T000000-node-7.jsonl"


@pytest.fixture
def plan(study_file: Path) -> Plan:
    """Of a launched study with four lines: of its launch, of two trials, and of their common GAN."""
    store = Store(study_file.parent / "metsweep-store")
    StudyRecord(store, "small").keep_study(load_study(str(study_file)))
    plan = make_plan(load_study(str(study_file)))
    none, _, first, second = plan.trials
    assert second.gan is not None
    lines = [
        {"time": "2026-01-01T00:00:04+00:00", "level": "error", "message": "lost", "trial": none.name, "text": "why"},
        {"time": "2026-01-01T00:00:01+00:00", "level": "info", "message": "began", "trial": None},
        {"time": "2026-01-01T00:00:02+00:00", "level": "info", "message": "made", "trial": first.name, "stage": "gan"}
        | {"key": second.gan.key},
        {"time": "2026-01-01T00:00:03+00:00", "level": "warning", "message": "slow", "trial": first.name},
    ]
    store.write_text(NAME, "".join(json.dumps(line) + "\n" for line in lines))
    return plan


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["began", "made", "slow", "lost"]),
        (("none",), ["lost"]),
        (("cpggan 4",), ["made", "slow"]),
        (("cpggan 4 seed 1",), ["made"]),
        (("--stage", "gan"), ["made"]),
        (("--level", "warning"), ["slow", "lost"]),
        (("--follow",), ["began", "made", "slow", "lost"]),
    ],
)
@pytest.mark.usefixtures("plan")
def test_only_what_was_asked_for_is_shown(metsweep: Metsweep, options: tuple[str, ...], expected: list[str]) -> None:
    ended = metsweep("logs", STUDY, *options, "--json")
    assert ended.code == 0, ended.err
    assert [json.loads(line)["message"] for line in ended.out.splitlines()] == expected


def test_a_line_names_its_trial_and_stage(metsweep: Metsweep, plan: Plan) -> None:
    out = metsweep("logs", STUDY).out
    gan = plan.trials[2].gan
    assert gan is not None
    assert f"info  {plan.trials[2].name} gan {gan.key[:8]}  made\n" in out
    assert f"error  {plan.trials[0].name}  lost  text why\n" in out


@pytest.mark.usefixtures("plan")
def test_an_unknown_cell_is_refused(metsweep: Metsweep) -> None:
    ended = metsweep("logs", STUDY, "cpgan 4")
    assert ended.code == 2
    assert "'cpggan 4'" in ended.err
