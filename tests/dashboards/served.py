"""An application behind a real server on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from dashboards.web.access import Access
from dashboards.web.serving import link, listening


@dataclass(frozen=True)
class Served:
    """Where an application is reached."""

    url: str
    """Without a slash at its end."""
    link: str
    """The same with the token: whoever opens it may change things."""


@contextmanager
def served(app: ASGIApp, access: Access) -> Iterator[Served]:
    """Serve an application in a thread until the block ends."""
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{port}", link(access, port))
        finally:
            server.should_exit = True
            thread.join(10)
