from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from sweep.plan import Plan
from sweep.store import Store
from sweep.tracking.tracker import Tracker
from tests.sweep.small_study import make, small_plan


@pytest.fixture(scope="session")
def plan() -> Plan:
    """Four trials and two GANs."""
    return small_plan()


@pytest.fixture(scope="session")
def full_store(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every stage of the plan, made by the real trainers."""
    store = Store(tmp_path_factory.mktemp("store"))
    for stage in plan.stages.values():
        make(stage, store)
    return store


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated MLflow database to copy: making one takes seconds."""
    from sweep.tracking.mlflow_client import connect

    folder = tmp_path_factory.mktemp("database")
    connect(f"sqlite:///{folder / 'mlflow.db'}")
    return folder / "mlflow.db"


@pytest.fixture
def tracking_uri(empty_database: Path, tmp_path: Path) -> str:
    """MLflow on an SQLite file of the test's own."""
    folder = tmp_path / "with space"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture(scope="session")
def recorded_uri(plan: Plan, full_store: Store, tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> str:
    """MLflow that holds the whole study; tests only read it or add to its registry."""
    folder = tmp_path_factory.mktemp("recorded")
    shutil.copy(empty_database, folder / "mlflow.db")
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", plan, full_store)
    tracker.open()
    tracker.record()
    tracker.close()
    return tracker.tracking_uri


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
