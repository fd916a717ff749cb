"""Notifies whoever launched a study: by a command, a webhook, or both."""

from __future__ import annotations

import json
import logging
import os
import platform
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from sweep.redaction import without_secrets, without_webhook
from sweep.studies.progress import StageProgress

if TYPE_CHECKING:
    from sweep.plan import Plan

logger = logging.getLogger(__name__)

Event = Literal["ended", "failed", "stalled", "node_lost"]

SECONDS_TO_ANSWER = 10.0
"""How long a webhook may take to answer, and a command to end."""
ATTEMPTS = 3
LOOK_AT_NODES_SECONDS = 10.0
IDLE = 4
"""Ray's reason for the end of a node that its autoscaler removed for want of work (`NodeDeathInfo.Reason`)."""


class Notifier:
    """Sends the events of one launch, one after the other, from a thread; the end of the block waits for the last.

    A command gets the event as JSON on its standard input, a webhook as the body of a POST. What cannot be delivered
    is reported in one line and changes nothing else.

    Args:
        study: its name.
        command: to be run without a shell, or None.
        webhook: an http or https URL, or None; it may hold a secret, so only its host is shown.
        say: shows one line to the person who launched.
    """

    def __init__(self, study: str, command: str | None, webhook: str | None, say: Callable[[str], None]) -> None:
        self._study, self._command, self._webhook, self._say = study, command, webhook, say
        self._sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="notify")

    def __enter__(self) -> Notifier:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, Exception):
            self.send("failed", f"the launch ended by an error: {without_secrets(error)}")
        self._sender.shutdown(wait=True)

    def send(self, event: Event, message: str) -> None:
        """Send one event; returns at once."""
        text = f"metsweep study {self._study}: {message}"
        # `text` is the field that chat services show.
        content = {"event": event, "study": self._study, "text": text, "host": platform.node(), "time": time.time()}
        body = json.dumps(content).encode()
        if self._command:
            self._sender.submit(self._deliver, self._run, "command of METSWEEP_NOTIFY_COMMAND", event, body)
        if self._webhook:
            where = f"webhook at {urlsplit(self._webhook).hostname}"
            self._sender.submit(self._deliver, self._post, where, event, body)

    def _deliver(self, deliver: Callable[[Event, bytes], None], where: str, event: Event, body: bytes) -> None:
        for attempt in range(ATTEMPTS):
            time.sleep(attempt)
            try:
                deliver(event, body)
                return
            except Exception as error:  # of any kind: a notification must not end the launch
                reason = without_webhook(error, self._command, self._webhook)
                logger.warning("notification not delivered", extra={"event": event, "reason": reason})
        self._say(f"Notification {event!r} could not be delivered by the {where}: {reason}")

    def _run(self, event: Event, body: bytes) -> None:
        assert self._command
        environment = os.environ | {"METSWEEP_EVENT": event, "METSWEEP_STUDY": self._study}
        ended = subprocess.run(
            shlex.split(self._command), input=body, capture_output=True, timeout=SECONDS_TO_ANSWER, env=environment
        )
        if ended.returncode:
            last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise OSError(f"the command ended with exit code {ended.returncode}{': ' + last[0] if last else ''}")

    def _post(self, event: Event, body: bytes) -> None:
        assert self._webhook
        request = urllib.request.Request(self._webhook, body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()


class Watcher:
    """Watches a launch for what a person should hear of while it runs: no progress, and lost nodes.

    Args:
        notify: sends an event with its message.
        stall_minutes: how long no stage may get further.
    """

    def __init__(self, notify: Callable[[Event, str], None], stall_minutes: float) -> None:
        self._notify, self._stall_minutes = notify, stall_minutes
        self._progress: dict[str, tuple[str, int]] = {}
        self._progressed = time.monotonic()
        self._stalled = False
        self._looked_at_nodes = time.monotonic()
        self._alive: set[str] = set()

    def observe(self, plan: Plan, stages: Mapping[str, StageProgress]) -> None:
        """Compare the state of the launch with the one before."""
        now = time.monotonic()
        progress = {key: (stage.state, stage.done) for key, stage in stages.items()}
        if progress != self._progress:
            self._progress, self._progressed, self._stalled = progress, now, False
        elif not self._stalled and now - self._progressed > 60 * self._stall_minutes:
            self._stalled = True
            running = ", ".join(stage.label for stage in stages.values() if stage.state == "running")
            minutes = f"{self._stall_minutes:g} min"
            self._notify("stalled", f"no stage has progressed for {minutes}; running: {running or 'none'}")
        if now - self._looked_at_nodes > LOOK_AT_NODES_SECONDS:
            self._looked_at_nodes = now
            self._look_at_nodes()

    def _look_at_nodes(self) -> None:
        import ray

        nodes = ray.nodes()
        for node in nodes:
            if node["NodeID"] in self._alive and not node["Alive"] and node["DeathReason"] != IDLE:
                reason = node["DeathReasonMessage"] or "for an unknown reason"
                self._notify("node_lost", f"node {node['NodeManagerAddress']} was lost: {reason}")
        self._alive = {node["NodeID"] for node in nodes if node["Alive"]}
