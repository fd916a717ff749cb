"""Options of every command that serves pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

import typer

from trainers.config import one_line
from trainers.documents import shown
from trainers.exceptions import ConfigError

LOOPBACK = "127.0.0.1"


def _public_url(text: str | None) -> str | None:
    """Scheme and host of an address, in small letters."""
    if text is None:
        return None
    try:
        parts = urlsplit(text.lower().rstrip("/"))
        is_server = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        is_server = is_server and parts.port != 0 and not (parts.path or parts.query or parts.fragment)
    except ValueError:
        is_server = False
    if not is_server:
        raise typer.BadParameter(f"{shown(text)}; allowed: scheme and host alone, e.g. https://sweep.example.org.")
    return parts.geturl()


Host = Annotated[
    str,
    typer.Option("--host", metavar="ADDRESS", help="Address to listen on; beyond loopback, only the whole link opens."),
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any free port.")]
PublicUrl = Annotated[
    str | None,
    typer.Option(
        "--public-url",
        metavar="URL",
        help="What browsers open where a server with TLS stands in front, e.g. https://sweep.example.org; then only "
        "the whole link opens.",
        callback=_public_url,
    ),
]
LONGEST_NAME = 100
"""Characters."""


def people(names: Sequence[str], option: str) -> list[str]:
    """The names of an option, each once.

    Raises:
        ConfigError: a name is empty, longer than LONGEST_NAME, or no line of text.
    """
    for name in names:
        try:
            one_line(name)
        except ValueError as reason:
            raise ConfigError(f"{option} {shown(name)} {reason}.") from None
        if not 0 < len(name.strip()) <= LONGEST_NAME:
            raise ConfigError(f"{option} {shown(name)} has {len(name)} characters; allowed: 1 to {LONGEST_NAME}.")
    return list(dict.fromkeys(name.strip() for name in names))
