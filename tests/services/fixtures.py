"""Services that several rooms' tests share; a conftest imports the fixtures it needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.seaweedfs import SeaweedFS


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """One S3 server for all tests of a session."""
    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))
    server.start()
    yield server
    server.kill()
