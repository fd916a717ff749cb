"""Does something again and again beside the work of a block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(action: Callable[[], object], pause_seconds: Callable[[], float]) -> Iterator[None]:
    """Calls `action` from a thread of its own while the block runs, after each pause.

    The block's end waits for a call that is under way; an `action` that raises is not called again.
    """
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(pause_seconds()):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
