"""Does something again and again beside the work of a block."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def repeating(action: Callable[[], object], pause_seconds: Callable[[], float]) -> Iterator[None]:
    """Calls `action` from a thread of its own while the block runs, after each pause.

    The block's end waits for a call that is under way. An `action` that raises is logged, once as long as it stays the
    same error, and called again: what watches a launch must not end unseen.
    """
    stop = threading.Event()

    def repeat() -> None:
        logged = ""
        while not stop.wait(pause_seconds()):
            try:
                action()
            except Exception as error:
                if repr(error) != logged:
                    logger.exception("what is done beside the work failed")
                    logged = repr(error)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
