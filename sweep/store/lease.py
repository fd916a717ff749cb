"""Leases: at most one process makes a stage key, and none waits for a dead one.

A lease is a document that its holder changes every BEAT_S. Whoever waits watches it: if it does not change for
LOST_AFTER_S of the waiter's own watching, the holder has died and the waiter takes the lease over. No clock of another
machine, and no clock that can be set, is part of it. A store that cannot be written freezes both sides: its holder
cannot change the document then, so a waiter counts only the time in which it could itself have written.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable

from pydantic import ValidationError

from sweep.store.backend import Backend, Unavailable
from sweep.store.process import Process
from trainers.config import Config
from trainers.exceptions import StoreError

logger = logging.getLogger(__name__)

FOLDER = "leases"
BEAT_S = 3.0
"""How often a holder changes its lease."""
LOST_AFTER_S = 15.0
"""How long a lease stays unchanged before its holder counts as dead: five beats."""
POLL_S = 0.5
"""How often a waiter looks."""


class LeaseRecord(Config):
    """Content of a lease."""

    owner: str
    """Of the taking: another one for each time a lease is acquired."""
    beat: int
    """How often the holder has changed it."""
    process: Process
    """Holder."""


class Watch:
    """What one observer knows of a lease: whether its holder has died."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._seen: bytes | None = None
        self._unchanged_s = 0.0
        self._looked = 0.0

    def holder_died(self, content: bytes) -> bool:
        """Take in what the lease holds now.

        Raises:
            Unavailable: the store cannot be written, so an unchanged lease tells nothing.
        """
        record = read_record(content)
        if record is not None and record.process.is_gone:
            return True
        now = time.monotonic()
        if content != self._seen:
            self.start_again()
            self._seen = content
        else:
            # Time in which this process was stopped, or a read hung, was not spent watching.
            self._unchanged_s += min(now - self._looked, 2 * POLL_S)
        self._looked = now
        if self._unchanged_s > 2 * BEAT_S:
            self._backend.probe()
        return self._unchanged_s >= LOST_AFTER_S

    def start_again(self) -> None:
        """Forget the time watched so far."""
        self._unchanged_s = 0.0


class Lease:
    """The right to make one stage key; see the module. Any thread may use it, and hold it once at a time."""

    def __init__(self, backend: Backend, stage: str, key: str) -> None:
        self._backend = backend
        self._name = f"{FOLDER}/{stage}/{key}.json"
        self._label = f"{stage} {key[:12]}"
        self._content = b""
        self._held = False
        self._changing = threading.Lock()
        self._released = threading.Event()

    @property
    def held(self) -> bool:
        """Whether this lease is held, as far as is known: False once another has taken it over."""
        return self._held

    def acquire(self, give_up: Callable[[], bool] | None = None) -> bool:
        """Wait until the lease is held; a store that is away for a while is waited for too.

        Args:
            give_up: asked after each attempt; once it is true the waiting ends.

        Returns:
            False if it was given up.

        Raises:
            StoreError: the store refuses for a reason that a person must mend.
        """
        if self._held:
            return True
        watch = Watch(self._backend)
        record = LeaseRecord(owner=uuid.uuid4().hex, beat=0, process=Process.this())
        away = False
        while True:
            try:
                if self._take(record, watch):
                    return True
                away = False
            except Unavailable as error:
                watch.start_again()
                if not away:
                    logger.warning(f"Waiting for the store to get the lease of {self._label}: {error}")
                away = True
            if give_up is not None and give_up():
                return False
            time.sleep(POLL_S)

    def release(self) -> None:
        """Let the next one have it; nothing if it is not held."""
        self._released.set()
        with self._changing:
            if not self._held:
                return
            self._held = False
            try:
                self._backend.swap(self._name, None, self._content)
            except (Unavailable, StoreError) as error:
                logger.warning(f"The lease of {self._label} could not be released, and will lapse: {error}")

    def __enter__(self) -> Lease:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take(self, record: LeaseRecord, watch: Watch) -> bool:
        there = self._backend.read(self._name)
        if there is not None:
            found = read_record(there)
            # An attempt of ours may have come through though the answer was lost.
            ours = found is not None and found.owner == record.owner
            if not ours and not watch.holder_died(there):
                return False
        content = record.model_dump_json().encode()
        if not self._backend.swap(self._name, content, there):
            return False
        if there is not None:
            logger.info(f"Took over the lease of {self._label}: its holder has died.")
        with self._changing:
            self._content, self._held = content, True
            self._released = threading.Event()
        threading.Thread(target=self._beat, args=(record, self._released), daemon=True).start()
        return True

    def _beat(self, record: LeaseRecord, released: threading.Event) -> None:
        away = False
        while not released.wait(BEAT_S):
            # The number goes up only with an answer: what is written again is then the same.
            following = record.model_copy(update={"beat": record.beat + 1})
            content = following.model_dump_json().encode()
            with self._changing:
                if released.is_set():
                    return
                try:
                    kept = self._backend.swap(self._name, content, self._content)
                except (Unavailable, StoreError) as error:
                    if not away:
                        logger.warning(f"The lease of {self._label} cannot be renewed, trying again: {error}")
                    away = True
                    continue
                away = False
                if not kept:
                    self._held = False
                    logger.warning(f"Lost the lease of {self._label}: another process has taken it over.")
                    return
                record, self._content = following, content


def read_record(content: bytes) -> LeaseRecord | None:
    """The record, or None if it is damaged: then nobody renews it and it lapses."""
    try:
        return LeaseRecord.model_validate_json(content)
    except ValidationError:
        return None
