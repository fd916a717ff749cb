"""Retries what fails for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sweep.store.backend import Unavailable
from trainers.exceptions import StoreError

logger = logging.getLogger(__name__)

PATIENCE_S = 300.0
"""How long a store may be away before what needs it fails."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0

T = TypeVar("T")


def patiently(what: str, action: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """The result of `action`, retried with growing pauses while it raises Unavailable, then StoreError."""
    give_up_at, pause = time.monotonic() + patience_s, FIRST_PAUSE_S
    while True:
        try:
            return action()
        except Unavailable as error:
            left = give_up_at - time.monotonic()
            if left <= 0:
                raise StoreError(
                    f"Cannot {what}: {error} Retried for {patience_s:.0f} s. Fix the cause and run the command again."
                ) from None
            logger.warning(f"Cannot {what}: {error} Retrying for up to {left:.0f} s.")
        time.sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE_S)
