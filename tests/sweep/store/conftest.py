from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.store import Store
from tests.services.fixtures import seaweedfs
from tests.services.seaweedfs import BUCKET, SeaweedFS

__all__ = ["seaweedfs"]


@pytest.fixture
def s3(seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SeaweedFS:
    """The server, as this process's environment names it."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("METSWEEP_CACHE", str(tmp_path / "cache"))
    return seaweedfs


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    if request.param == "folder":
        yield Store(tmp_path / "store")
    else:
        request.getfixturevalue("s3")
        yield Store(f"s3://{BUCKET}/{uuid.uuid4().hex}")
