"""Seconds that a page takes: of processors, as other processes of a machine delay whatever is timed by a clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page


class Taken:
    """Seconds of the server, which runs in other threads of this process, and of the tab's main thread."""

    def __init__(self, tab: Page) -> None:
        self._session = tab.context.new_cdp_session(tab)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    @contextmanager
    def __call__(self, what: str, most: float) -> Iterator[None]:
        """Print what a block takes; the test fails if it takes `most` seconds or more."""
        before, server, clock = self._tab(), _other_threads(), time.monotonic()
        yield
        server, clock = _other_threads() - server, time.monotonic() - clock
        now = self._tab()
        page = now - before if now >= before else now  # a new page may begin at 0
        print(f"{what}: {server:.3f} s of the server, {page:.3f} s of the page; {clock:.3f} s by the clock")
        assert server + page < most, what

    def _tab(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def _other_threads() -> float:
    return time.process_time() - time.thread_time()
