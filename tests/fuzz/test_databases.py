"""Damaged databases of Optuna and MLflow: refused in one line, or read as what they hold; SQLite has no checksums."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.registry.gates import Gate, Verdict
from sweep.registry.lineage import cell_keys
from sweep.registry.quality import Quality, quality_in_tags
from sweep.registry.records import Record, records
from sweep.registry.versions import DETECTOR, Registry
from sweep.report.runs import runs_by_stage_key
from sweep.studies.continuing import CONFIG, check_optuna_study, common_config
from sweep.studies.optuna_study import create_optuna_study, open_storage, read_drawn
from sweep.tracking.tags import CELL_KEYS, QUALITY, STAGE_KEY, tag_text
from tests.fuzz.damage import TEXT
from tests.fuzz.damaged_database import DATABASE, SEEN
from tests.fuzz.harness import fuzz
from tests.sweep.evaluated import SEARCH
from tests.sweep.small_study import small_plan


@pytest.fixture
def study() -> Study:
    return small_plan(**{**SEARCH, "search": {"method": "tpe", "trials": 6}}).study


def optuna_database(study: Study, path: Path) -> None:
    """What a search left that drew four cells."""
    import optuna

    made = create_optuna_study(study, open_storage(f"sqlite:///{path}"))
    made.set_user_attr(CONFIG, common_config(study, "slices"))
    space = {name: one.distribution() for name, one in study.space.items()}
    params = {"variant": "cpggan", "count": 8, "detector.learning_rate": 1e-3}
    for value in (0.25, 0.5, 0.75):
        made.add_trial(
            optuna.trial.create_trial(params=params, distributions=space, value=value, user_attrs={"metsweep.x": [1]})
        )
    made.ask(space)


def from_file(read: Callable[[str], Any], folder: Path) -> Callable[[bytes], Any]:
    """Reads the content of a database by the URI of a file, a new one each time."""
    number = itertools.count()

    def run(made: bytes) -> Any:
        path = folder / f"{next(number)}.db"
        path.write_bytes(made)
        try:
            return read(f"sqlite:///{path}")
        finally:
            path.unlink()

    return run


def test_optuna(study: Study, tmp_path: Path) -> None:
    optuna_database(study, tmp_path / "whole.db")

    def read(uri: str) -> Any:
        check_optuna_study(study, "slices", uri)
        return read_drawn(study, uri)

    tally = fuzz(from_file(read, tmp_path), (tmp_path / "whole.db").read_bytes(), DATABASE, count=50, illegal=SEEN)
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 20, str(tally)


@pytest.fixture(scope="module")
def mlflow_database(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of a study's run, and a version that is champion and was judged."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "whole.db"
    shutil.copy(empty_database, path)
    uri = f"sqlite:///{path}"
    registry = Registry(uri)
    client = MlflowClient(uri, uri)
    run = client.create_run(client.create_experiment("small"), tags={STAGE_KEY: "k" * 64})
    client.create_registered_model(DETECTOR)
    tags = Record((Gate("paired gain", 0.25, 0.0, Verdict.PASS, "Gains."),), None, "2026-01-01").tags(1)
    client.create_model_version(DETECTOR, "file:///nowhere/model", run.info.run_id, tags=tags, description="Made.")
    registry.crown(registry.find(DETECTOR, "1"), "promoted")
    return path.read_bytes()


def test_mlflow(mlflow_database: bytes, tmp_path: Path) -> None:
    def read(uri: str) -> Any:
        registry = Registry(uri)
        versions = registry.versions(DETECTOR)
        return (
            versions,
            [records(one.tags) for one in versions],
            registry.history(DETECTOR),
            runs_by_stage_key(uri, "small", {"k" * 64}),
        )

    tally = fuzz(from_file(read, tmp_path), mlflow_database, DATABASE, count=30, illegal=SEEN)
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 12, str(tally)


def test_tags_of_the_registry() -> None:
    tags = Record((Gate("paired gain", 0.25, 0.0, Verdict.PASS, "Gains."),), "a reason", "2026-01-01").tags(1)
    quality = tag_text(
        Quality(sensitivity=0.5, low=0.25, high=0.75, fps_per_slice=1.5, hitting=0.5, patients=3, confidence=0.001)
    )

    for name, content in (tags | {QUALITY: quality, CELL_KEYS: "0:abc,1:def"}).items():

        def read(made: bytes, name: str = name) -> Any:
            changed = tags | {name: made.decode(errors="surrogateescape")}
            told = quality_in_tags(changed)
            return records(changed), told and told.sentence(0.2), CELL_KEYS in changed and cell_keys(changed)

        tally = fuzz(read, content.encode(), TEXT, count=50)
        assert not tally.faults, str(tally)
