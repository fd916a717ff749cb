from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from tests.services.results import empty_database, full_store, plan, recorded_uri, seeded_store, small_store

__all__ = ["empty_database", "full_store", "plan", "recorded_uri", "seeded_store", "small_store"]


@pytest.fixture
def tracking_uri(empty_database: Path, tmp_path: Path) -> str:
    """MLflow on an SQLite file of the test's own."""
    folder = tmp_path / "with space"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
