"""Options of every command that serves pages."""

from __future__ import annotations

from typing import Annotated

import typer

LOOPBACK = "127.0.0.1"
Host = Annotated[
    str,
    typer.Option("--host", metavar="ADDRESS", help="Address to listen on; beyond loopback, only the whole link opens."),
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any free port.")]
