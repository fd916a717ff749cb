"""An address of something else than a Ray is refused in one sentence."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sweep.engine.cluster import look_at
from trainers.exceptions import ClusterError


def test_a_port_of_another_server_is_refused() -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(ClusterError, match=r"the head of a Ray cluster does not answer there .*6379 by default"):
            look_at(f"127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
