"""Results of small studies that several rooms' tests share; a conftest imports the fixtures it needs."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sweep.plan import Plan
from sweep.report.report import write_report
from sweep.store import Store
from sweep.tracking.tracker import Tracker
from tests.made_once import made_once
from tests.sweep.judged_study import complete, copied, judged_plan
from tests.sweep.small_study import make, small_plan


@pytest.fixture(scope="session")
def plan() -> Plan:
    """Four trials and two GANs."""
    return small_plan()


@pytest.fixture(scope="session")
def small_store(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every stage of the plan, made by the real trainers; to copy."""

    def make_all(folder: Path) -> None:
        store = Store(folder)
        for stage in plan.stages.values():
            make(stage, store)

    return Store(made_once(tmp_path_factory, "small-store", make_all))


@pytest.fixture(scope="session")
def full_store(small_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same, of this process alone."""
    return copied(small_store, tmp_path_factory.mktemp("full") / "store")


@pytest.fixture(scope="session")
def seeded_store(small_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every stage of `judged_plan` with three seeds; to copy."""

    def make_rest(folder: Path) -> None:
        complete(judged_plan((0, 1, 2)), copied(small_store, folder / "store"))

    return Store(made_once(tmp_path_factory, "seeded", make_rest) / "store")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated MLflow database to copy: making one takes seconds."""
    from sweep.tracking.mlflow_client import connect

    def migrate(folder: Path) -> None:
        connect(f"sqlite:///{folder / 'mlflow.db'}")

    return made_once(tmp_path_factory, "empty-database", migrate) / "mlflow.db"


@pytest.fixture(scope="session")
def recorded_uri(plan: Plan, small_store: Store, tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> str:
    """MLflow that holds the whole study; tests only read it or add to its registry, which is of this process alone."""

    def record(folder: Path) -> None:
        shutil.copy(empty_database, folder / "mlflow.db")
        tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", plan, small_store, report=write_report)
        tracker.open()
        tracker.record()
        tracker.close()

    made = made_once(tmp_path_factory, "recorded", record)
    own = tmp_path_factory.mktemp("recorded") / "own"
    shutil.copytree(made, own, ignore=shutil.ignore_patterns("mlflow.db*"))
    with closing(sqlite3.connect(made / "mlflow.db")) as source, closing(sqlite3.connect(own / "mlflow.db")) as copy:
        # MLflow keeps absolute paths.
        copy.executescript("\n".join(source.iterdump()).replace(str(made), str(own)))
    return f"sqlite:///{own / 'mlflow.db'}"


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
