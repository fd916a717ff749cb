"""Serves an application until Ctrl-C."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from dashboards.web.access import TOKEN, Access
from trainers.exceptions import ConfigError


def new_access(host: str, public_url: str | None = None) -> Access:
    """The access of a server that is about to start, with a fresh token."""
    return Access(host, secrets.token_urlsafe(24), public_url)


def serve(app: ASGIApp, access: Access, port: int, path: str, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        port: 0 for a free one.
        path: of the page to open, e.g. `study/quickstart`.
        ready: receives the link to open, once connections are accepted.

    Raises:
        ConfigError: the address or the port cannot be used.
    """
    with listening(access.host, port) as listener:
        # Access logs would hold the token.
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        ready(link(access, listener.getsockname()[1], path))
        uvicorn.Server(config).run([listener])


def listening(host: str, port: int) -> socket.socket:
    """A socket that accepts connections; ConfigError if the address or the port cannot be used."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        # A port whose last connections are closing is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        raise ConfigError(
            f"Port {port} on {host} cannot be used: {error.strerror}. Stop the process that uses the port, or name "
            "another --port (0: any free one) or --host."
        ) from None
    return listener


def link(access: Access, port: int, path: str = "") -> str:
    """The address to open, with the token."""
    host = socket.gethostname() if _is_any(access.host) else access.host
    server = access.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
    address = f"{server}/{path}"
    return address if access.token is None else f"{address}?{TOKEN}={access.token}"


def _is_any(host: str) -> bool:
    """Whether an address stands for all addresses of this machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
