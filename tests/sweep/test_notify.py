"""Notifications, received by a real web server and a real command."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from sweep.engine import notify
from sweep.engine.notify import Notifier, Watcher
from sweep.studies.progress import StageProgress

SECRET = "T0K3N"


@contextmanager
def web_server(answers: list[int]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A URL with a secret in it, and what is posted there; answers with these codes, then with 200."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0) if answers else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hooks/{SECRET}", received
        server.shutdown()


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_webhook_gets_each_event_and_is_tried_again(said: list[str]) -> None:
    with web_server([503]) as (url, received), Notifier("study", None, url, said.append) as notifier:
        notifier.send("stalled", "no stage has progressed")
        notifier.send("ended", "the launch has ended")
    assert [event["event"] for event in received] == ["stalled", "stalled", "ended"]
    assert received[-1]["text"] == "metsweep study study: the launch has ended"
    assert said == []


def test_a_command_reads_the_event_without_a_shell(tmp_path: Path, said: list[str]) -> None:
    script, out = tmp_path / "my script.py", tmp_path / "out; touch hacked"
    script.write_text(
        "import os, sys\nopen(sys.argv[1], 'a').write(os.environ['METSWEEP_EVENT'] + ' ' + sys.stdin.read() + '\\n')"
    )
    with Notifier("study", shlex.join([sys.executable, str(script), str(out)]), None, said.append) as notifier:
        notifier.send("node_lost", "node 10.0.0.2 was lost")
    name, content = out.read_text().split(" ", 1)
    assert (name, json.loads(content)["text"]) == ("node_lost", "metsweep study study: node 10.0.0.2 was lost")
    assert said == []


def test_an_error_that_ends_the_launch_is_sent(said: list[str]) -> None:
    with web_server([]) as (url, received):
        with pytest.raises(OSError, match="disk"), Notifier("study", None, url, said.append):
            raise OSError("the disk is full")
        with pytest.raises(KeyboardInterrupt), Notifier("study", None, url, said.append):
            raise KeyboardInterrupt
    assert [event["event"] for event in received] == ["failed"]
    assert "the disk is full" in received[0]["text"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("metsweep-no-such-command", "No such file"),
        (f"{sys.executable} -c 'import sys; sys.exit(\"no mail\")'", "no mail"),
    ],
)
def test_a_command_that_fails_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, said: list[str], command: str, reason: str
) -> None:
    monkeypatch.setattr(notify, "ATTEMPTS", 1)
    with Notifier("study", command, None, said.append) as notifier:
        notifier.send("ended", "the launch has ended")
    assert len(said) == 1
    assert reason in said[0]


def test_a_url_that_a_command_prints_is_reported_without_its_path(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(notify, "ATTEMPTS", 1)
    command = f"{sys.executable} -c 'import sys; sys.exit(sys.argv[1][8:])' https://ntfy.example/{SECRET}"
    with Notifier("study", command, None, said.append) as notifier:
        notifier.send("ended", "x")
    assert "ntfy.example/***" in "".join(said)
    assert SECRET not in "".join(said)


def test_a_webhook_that_refuses_is_reported_without_its_secret(
    monkeypatch: pytest.MonkeyPatch, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "ATTEMPTS", 1)
    with web_server([404]) as (url, _), Notifier("study", None, url, said.append) as notifier:
        notifier.send("ended", "the launch has ended")
        notifier._sender.submit(int).result()
        notifier._webhook = url.replace("http://127.0.0.1", "gopher://nowhere")
        notifier.send("ended", "the launch has ended")
    assert len(said) == 2
    assert "404" in said[0]
    assert SECRET not in "".join(said) + caplog.text + str([vars(record) for record in caplog.records])


def test_a_stall_is_sent_once_until_there_is_progress() -> None:
    sent: list[tuple[str, str]] = []
    watcher, plan = Watcher(lambda *event: sent.append(event), stall_minutes=0.2 / 60), None
    for done in (1, 2):
        stages = {"key": StageProgress("gan cpggan", "running", done=done, total=9)}
        for _ in range(3):
            watcher.observe(plan, stages)  # pyright: ignore[reportArgumentType]
        assert len(sent) == done - 1
        time.sleep(0.25)
        for _ in range(3):
            watcher.observe(plan, stages)  # pyright: ignore[reportArgumentType]
        assert len(sent) == done
    assert sent[0] == ("stalled", "no stage has progressed for 0.00333333 min; running: gan cpggan")


@pytest.mark.slow
def test_a_node_that_dies_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(notify, "LOOK_AT_NODES_SECONDS", 0.0)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    sent: list[tuple[str, str]] = []
    watcher = Watcher(lambda *event: sent.append(event), stall_minutes=30)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        ray.init(cluster.address, log_to_driver=False)
        watcher._look_at_nodes()
        cluster.remove_node(node, allow_graceful=False)
        deadline = time.monotonic() + 60
        while not sent and time.monotonic() < deadline:
            watcher._look_at_nodes()
            time.sleep(0.5)
        watcher._look_at_nodes()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert [event for event, _ in sent] == ["node_lost"]
    assert " was lost: " in sent[0][1]
