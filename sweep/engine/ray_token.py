"""The token of a Ray cluster: sent where the cluster asks for a token, and a clear reason where it is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainers.exceptions import ClusterError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
DEFAULT_PATH = Path("~/.ray/auth_token")
REMEDY = (
    f"Set {TOKEN} to the cluster's token, or {TOKEN_PATH} to a file that holds it; `ray get-auth-token` on the head "
    "node prints it."
)


@contextmanager
def admitted(where: str, admits: Callable[[], bool]) -> Iterator[None]:
    """Within the block Ray sends the token of this user if, and only if, the cluster asks for one.

    Ray itself goes by RAY_AUTH_MODE; where that differs from the cluster, its client fails after 20 s without a reason.

    Args:
        where: the cluster, for messages.
        admits: whether the cluster answers Ray's client as the environment is at that moment.

    Raises:
        ClusterError: no token or a wrong one, or RAY_AUTH_MODE contradicts the cluster.
    """
    chosen = os.environ.get(MODE, "").lower()
    with ray_environment({MODE: "disabled"}):
        asks = not admits()
    mode = "token" if asks else "disabled"
    if chosen not in ("", mode):
        raise ClusterError(f"Ray at {where} asks for {'a' if asks else 'no'} token: unset {MODE}, which is {chosen!r}.")
    with ray_environment({MODE: mode}):
        if asks:
            source = _source_of_token()
            if source is None:
                raise ClusterError(f"Ray at {where} asks for a token, and this user has none. {REMEDY}")
            if not admits():
                raise ClusterError(f"Ray at {where} refuses the token of {source}: it is not that cluster's. {REMEDY}")
        yield


@contextmanager
def ray_environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Variables that are set within the block, or unset where the value is None, and heeded by Ray in this process."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    from ray import _raylet

    ray_memory: Any = _raylet
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    # Ray remembers the mode and the token for the rest of the process.
    ray_memory.Config.initialize("")
    ray_memory.AuthenticationTokenLoader.instance().reset_cache()


def _source_of_token() -> str | None:
    """What Ray takes the token from; None if there is no token.

    Raises:
        ClusterError: the file of RAY_AUTH_TOKEN_PATH cannot be read.
    """
    if os.environ.get(TOKEN):
        return TOKEN
    if path := os.environ.get(TOKEN_PATH):
        try:
            if Path(path).read_text().strip():
                return f"{path} ({TOKEN_PATH})"
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a text"
            raise ClusterError(f"{TOKEN_PATH}: {path} cannot be read: {why}. {REMEDY}") from None
        raise ClusterError(f"{TOKEN_PATH}: {path} is empty. {REMEDY}")
    return str(DEFAULT_PATH) if DEFAULT_PATH.expanduser().is_file() else None
