"""Jobs of a cluster whose head has just started."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sweep.engine.jobs import NOT_READY, Submission, jobs_of
from trainers.exceptions import ClusterError


class Dashboard(ThreadingHTTPServer):
    """Answers as Ray's does while no agent has joined, `refusals` times."""

    refusals, refusal = 0, NOT_READY


class Answers(BaseHTTPRequestHandler):
    server: Dashboard  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self._answer(200, [] if "jobs" in self.path else {"version": "4", "ray_version": "2.60.0", "ray_commit": "x"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.refusals -= 1
        ready = self.server.refusals < 0
        self._answer(200, {"submission_id": "x", "job_id": "x"}) if ready else self._answer(500, self.server.refusal)

    def _answer(self, status: int, content: object) -> None:
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    monkeypatch.setattr("sweep.engine.jobs.LOOK_EVERY_SECONDS", 0.01)
    with Dashboard(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def submit(dashboard: Dashboard) -> str:
    study = Submission(study={"name": "small"}, store="s", mark="m", settings={}, versions={}, fail_fast=False)
    with jobs_of(f"http://127.0.0.1:{dashboard.server_port}") as jobs:
        return jobs.submit(study)


def test_a_head_that_cannot_begin_jobs_yet_is_asked_again(dashboard: Dashboard) -> None:
    dashboard.refusals = 3
    assert submit(dashboard) == "x"
    assert dashboard.refusals == -1


def test_what_else_a_head_refuses_is_said_at_once(dashboard: Dashboard) -> None:
    dashboard.refusals, dashboard.refusal = 1, "Disk full"
    with pytest.raises(ClusterError, match="Disk full"):
        submit(dashboard)
