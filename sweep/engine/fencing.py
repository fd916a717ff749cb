"""Stops a worker whose stage was taken over by another process, and keeps it from writing where that one writes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from sweep.engine.metrics import timed
from sweep.repeating import repeating
from sweep.store import Fence
from trainers.checkpoints import Checkpoints
from trainers.exceptions import StopRequestedError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""How often a worker checks that it still holds the lease under which it began."""


class Fenced:
    """The checkpoints of a stage as long as its lease is held; afterwards they belong to whoever took the stage over.

    Args:
        checkpoints: of the stage.
        fence: of the lease under which the work began.
        asked_to_stop: whether the run is to end for another reason.
        stage: its kind, for the metrics.
    """

    def __init__(self, checkpoints: Checkpoints, fence: Fence, asked_to_stop: Callable[[], bool], stage: str) -> None:
        self._checkpoints, self._fence, self._asked_to_stop = checkpoints, fence, asked_to_stop
        self._stage = stage
        self._lost = False

    def watched(self) -> AbstractContextManager[None]:
        """Looks at the lease while the block runs."""
        return repeating(self._look, lambda: LOOK_SECONDS)

    def asked_to_stop(self) -> bool:
        """Whether the run is to end; cheap."""
        return self._lost or self._asked_to_stop()

    def refuse_if_lost(self) -> None:
        """Raises StopRequestedError if the lease is lost."""
        if not self._look():
            raise StopRequestedError("Another process has taken this stage over.")

    def load(self) -> Path | None:
        """As of the stage."""
        return self._checkpoints.load()

    def save(self, write: Callable[[Path], None]) -> None:
        """As of the stage; nothing once the lease is lost."""
        if self._look():
            with timed("checkpoint", self._stage):
                self._checkpoints.save(write)

    def clear(self) -> None:
        """As of the stage."""
        self._checkpoints.clear()

    def _look(self) -> bool:
        if not self._lost and not self._fence.holds():
            self._lost = True
            logger.warning("lease lost while working", extra={"lease": self._fence.name})
        return not self._lost
