from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.services.results import (
    closed_port,
    empty_database,
    full_store,
    plan,
    recorded_uri,
    seeded_store,
    small_store,
)

__all__ = ["closed_port", "empty_database", "full_store", "plan", "recorded_uri", "seeded_store", "small_store"]


@pytest.fixture
def tracking_uri(empty_database: Path, tmp_path: Path) -> str:
    """MLflow on an SQLite file of the test's own."""
    folder = tmp_path / "with space"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"
