"""Repeats an action beside the work of a block."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def repeating(action: Callable[[], object], pause_seconds: Callable[[], float]) -> Iterator[None]:
    """Calls `action` after each pause, from a thread of its own, while the block runs.

    The block's end waits for a call that is under way. An error of `action` is logged, the same error once, and
    `action` is called again: what watches a launch must not end unnoticed.
    """
    stop = threading.Event()

    def repeat() -> None:
        logged = ""
        while not stop.wait(pause_seconds()):
            try:
                action()
            except Exception as error:
                if repr(error) != logged:
                    logger.exception("an action beside the work failed")
                    logged = repr(error)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
