"""Servers that end when the process that tests with them does, even if it is killed.

A product's server outlives its starter, in a session of its own, and so would a test's: after a `kill -9` of pytest,
or of its worker, nobody runs the fixtures that end it. Here a second process waits for the end of the first.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import IO

from infra.stack.service import stop
from sweep.store.process import Process


def ends_with_this_process(leader: Process) -> None:
    """Let a server and all its processes be killed when this process ends; nothing happens if it has ended by then."""
    line = leader.model_dump_json() + "\n"
    _notes_of_the_watcher().write(line.encode())


@cache
def _notes_of_the_watcher() -> IO[bytes]:
    """The pipe closes with this process, which makes the watcher act; in another session, no Ctrl-C ends it."""
    watcher = subprocess.Popen(
        [sys.executable, "-m", __name__], cwd=Path(__file__).parents[2], bufsize=0,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    assert watcher.stdin is not None
    return watcher.stdin


if __name__ == "__main__":
    for leader in [Process.model_validate_json(line) for line in sys.stdin]:
        stop(leader, signal.SIGKILL)
