"""The cluster of RAY_ADDRESS admits who has its token; whoever has not learns at once which variable to set."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.engine.cluster import look_at
from sweep.engine.ray_token import ray_environment
from tests.integration.survival import NO_TOKEN, RayHead
from trainers.exceptions import ClusterError

pytestmark = pytest.mark.slow
TOKEN = secrets.token_hex(32)


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    """A cluster that asks for a token."""
    head = RayHead(2, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN})
    head.start()
    yield head
    head.close()


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without any token."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "asks for a token, and this user has none. Set RAY_AUTH_TOKEN "),
        ({"RAY_AUTH_TOKEN": "wrong"}, "refuses the token of RAY_AUTH_TOKEN: "),
        ({"RAY_AUTH_TOKEN_PATH": "other"}, r"refuses the token of other \(RAY_AUTH_TOKEN_PATH\): "),
        ({"RAY_AUTH_TOKEN_PATH": "missing"}, "RAY_AUTH_TOKEN_PATH: missing cannot be read: No such file"),
        ({"RAY_AUTH_TOKEN": TOKEN, **NO_TOKEN}, "asks for a token: unset RAY_AUTH_MODE"),
    ],
)
def test_a_cluster_says_at_once_which_variable_is_wrong(
    head: RayHead, variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other").write_text(secrets.token_hex(32))
    began = time.monotonic()
    with ray_environment(variables), pytest.raises(ClusterError, match=message) as refused:
        look_at(head.address)
    assert time.monotonic() - began < 5
    assert refused.value.exit_code == 2
    assert TOKEN not in str(refused.value)


def test_the_token_in_the_home_folder_is_enough(head: RayHead, tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    command = f"from sweep.engine.cluster import look_at; print(look_at({head.address!r}).total('CPU'))"
    ended = subprocess.run(
        [sys.executable, "-c", command], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert ended.stdout == "2.0\n", ended.stderr
