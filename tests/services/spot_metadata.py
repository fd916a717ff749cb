"""Plays the metadata service of an AWS spot instance (IMDSv2)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "token-of-the-metadata-service"


class SpotMetadata:
    """What the service knows: nothing, until `take_away`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.notice: dict[str, str] | None = None

    def take_away(self, in_s: float) -> None:
        """Give notice, in AWS's words."""
        when = datetime.now(UTC) + timedelta(seconds=in_s)
        self.notice = {"action": "terminate", "time": when.strftime("%Y-%m-%dT%H:%M:%SZ")}


@contextmanager
def spot_metadata(address: str = "127.0.0.1") -> Iterator[SpotMetadata]:
    """A service that listens while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
            self._answer(*(200, TOKEN) if asked else (400, ""))

        def do_GET(self) -> None:
            if self.headers["X-aws-ec2-metadata-token"] != TOKEN:
                self._answer(401, "")
            elif self.path == "/latest/meta-data/spot/instance-action" and service.notice:
                self._answer(200, json.dumps(service.notice))
            else:
                self._answer(404, "")

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_request(self, *_: object) -> None:
            """Not into the output of the tests."""

    with ThreadingHTTPServer((address, 0), Handler) as server:
        service = SpotMetadata(f"http://{address}:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
