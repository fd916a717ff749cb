"""A study that is looked at again and again."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from sweep.studies.optuna_study import DrawnCells, create_optuna_study, open_storage
from tests.sweep.evaluated import search_plan


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "optuna.db"


def draw(file: Path, *counts: int) -> None:
    """Record cells that were drawn and have ended."""
    study = search_plan(3, seeds=(0,), search={"method": "tpe", "trials": 9}).study
    optuna_study = create_optuna_study(study, open_storage(f"sqlite:///{file}"))
    distributions = {key: dimension.distribution() for key, dimension in study.space.items()}
    rate = 10**-3.0
    for count in counts:
        params = {"variant": "cpggan", "count": count, "detector.learning_rate": rate}
        optuna_study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=0.5))


def change(file: Path, count: int) -> None:
    """Another process writes over what has ended, which Optuna never does."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("update trial_params set param_value = ? where param_name = 'count'", (count,))


def test_what_has_ended_is_read_once_and_what_is_new_or_in_another_file_is_seen(file: Path) -> None:
    study = search_plan(3, seeds=(0,), search={"method": "tpe", "trials": 9}).study
    cells = DrawnCells(study, f"sqlite:///{file}")
    assert cells.read() == [], "nothing is made"
    assert not file.exists()
    draw(file, 4)
    assert [drawn.cell.paper_count for drawn in cells.read()] == [4]
    change(file, 8)
    draw(file, 8)
    assert [drawn.cell.paper_count for drawn in cells.read()] == [4, 8]
    shutil.copy(file, file.with_name("restored.db"))
    file.with_name("restored.db").rename(file)
    assert [drawn.cell.paper_count for drawn in cells.read()] == [8, 8]
