"""Leases: at most one process makes a stage key, and none waits for a dead process.

A lease is a document that its holder changes every BEAT_S. A waiter watches the document: if it stays unchanged for
LOST_AFTER_S of the waiter's own watching, the holder has died and the waiter takes the lease over. No clock of another
machine, and no clock that can be set, matters. A store that cannot be written freezes both sides: the holder cannot
change the document then, so a waiter counts only the time in which it could have written itself.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from sweep.store.backend import Backend, Unavailable
from sweep.store.process import Process
from trainers.config import Config
from trainers.exceptions import LostLeaseError, StoreError

logger = logging.getLogger(__name__)

FOLDER = "leases"
BEAT_S = 3.0
"""How often a holder changes its lease."""
LOST_AFTER_S = 15.0
"""How long a lease stays unchanged before its holder counts as dead: five beats."""
POLL_S = 0.5
"""How often a waiter reads the lease."""
NAMED_AFTER_S = 3.0
"""How long a waiter waits before it names the holder: an orderly hand-over takes less."""

OnWait = Callable[[Process, float], None]
"""Called with the holder, and the seconds since it was last seen to change the lease."""


class LeaseRecord(Config):
    """Content of a lease."""

    owner: str
    """Random; new each time a lease is acquired."""
    beat: int
    """How often the holder has changed it."""
    process: Process
    """Holder."""


class Watch:
    """One observer's view of a lease: whether its holder has died."""

    def __init__(self, backend: Backend) -> None:
        self.holder: Process | None = None
        """Who holds the lease, as far as it can be read."""
        self._backend = backend
        self.silent_s = 0.0
        """How long the lease has been watched unchanged, seconds."""
        self.renewed = False
        """Whether the lease was seen to change: its holder lives."""
        self._seen: bytes | None = None
        self._looked = 0.0

    def holder_died(self, content: bytes) -> bool:
        """Whether the holder has died, given the content of the lease now.

        Raises:
            Unavailable: the store cannot be written, so an unchanged lease proves nothing.
        """
        record = read_record(content)
        self.holder = record and record.process
        if self.holder and self.holder.is_gone:
            return True
        now = time.monotonic()
        if content != self._seen:
            self.renewed = self._seen is not None
            self.start_again()
            self._seen = content
        else:
            # Time in which this process was stopped, or a read hung, was not spent watching.
            self.silent_s += min(now - self._looked, 2 * POLL_S)
        self._looked = now
        if self.silent_s > 2 * BEAT_S:
            self._backend.probe()
        return self.silent_s >= LOST_AFTER_S

    def start_again(self) -> None:
        """Forget the time watched so far."""
        self.silent_s = 0.0


@dataclass(frozen=True)
class Fence:
    """Whether the lease under which work began is still held; picklable, so that a remote worker can ask.

    A worker continues while the process that holds its lease is suspended, and so does that process when it wakes up:
    before either writes what the next holder writes too, it asks the store.
    """

    backend: Backend
    name: str
    """Document of the lease."""
    owner: str
    """As in the lease's record."""

    def holds(self) -> bool:
        """Whether nobody has taken the lease over; True also while the store is away, as nobody can then."""
        try:
            content = self.backend.read(self.name)
        except (Unavailable, StoreError):
            return True
        record = read_record(content)
        return record is not None and record.owner == self.owner


class Lease:
    """The right to make one stage key; see the module. Any thread may use it; only one can hold it."""

    def __init__(self, backend: Backend, stage: str, key: str) -> None:
        self._backend = backend
        self._name = f"{FOLDER}/{stage}/{key}.json"
        self._label = f"{stage} {key[:12] if len(key) == 64 else key}"
        self._content = b""
        self._owner = ""
        self._held = False
        self.taken_over = False
        """Whether this process took the lease over from one that died."""
        self._changing = threading.Lock()
        self._released = threading.Event()

    @property
    def held(self) -> bool:
        """Whether this lease is held by the latest check: False once another process has taken it over."""
        return self._held

    @property
    def fence(self) -> Fence:
        """For workers under this lease to check that it is held."""
        return Fence(self._backend, self._name, self._owner)

    def check(self) -> bool:
        """Whether this lease is held, read from the store: after a suspension a loss is noticed before the next beat.

        Also False after `release`.
        """
        with self._changing:
            if self._held and not self.fence.holds():
                self._lose()
            return self._held

    def refuse_if_lost(self) -> None:
        """Raise LostLeaseError unless the lease is held."""
        if not self.check():
            by = self.holder() or "which has ended"
            raise LostLeaseError(
                f"{self._label.capitalize()} was taken over by another process ({by}) while this one was suspended, or "
                f"away from the store, for more than {LOST_AFTER_S:.0f} s."
            )

    def holder(self) -> Process | None:
        """The present holder; None if there is none, or the lease cannot be read."""
        try:
            record = read_record(self._backend.read(self._name))
        except (Unavailable, StoreError):
            return None
        return record and record.process

    def acquire(self, give_up: Callable[[], bool] | None = None, on_wait: OnWait | None = None) -> bool:
        """Wait until the lease is held, also through an outage of the store.

        Args:
            give_up: called after each attempt; waiting ends once it returns True.
            on_wait: called repeatedly with the holder, after the first NAMED_AFTER_S.

        Returns:
            False if waiting was given up.

        Raises:
            StoreError: the store refuses for a reason that a person must fix.
        """
        if self._held:
            return True
        watch = Watch(self._backend)
        record = LeaseRecord(owner=uuid.uuid4().hex, beat=0, process=Process.this())
        return self._wait(lambda: self._take(record, watch), watch, give_up, on_wait)

    def wait_until_free(self, give_up: Callable[[], bool] | None = None, on_wait: OnWait | None = None) -> bool:
        """Wait as `acquire` does until no other process holds the lease, without taking it."""
        watch = Watch(self._backend)

        def is_free() -> bool:
            content = self._backend.read(self._name)
            return content is None or watch.holder_died(content)

        return self._wait(is_free, watch, give_up, on_wait)

    def _wait(
        self, attempt: Callable[[], bool], watch: Watch, give_up: Callable[[], bool] | None, on_wait: OnWait | None
    ) -> bool:
        away, began = False, time.monotonic()
        while True:
            try:
                if attempt():
                    return True
                away = False
                if on_wait is not None and watch.holder is not None and time.monotonic() - began >= NAMED_AFTER_S:
                    on_wait(watch.holder, watch.silent_s)
            except Unavailable as error:
                watch.start_again()
                if not away:
                    logger.warning(f"Waiting for the store to get the lease of {self._label}: {error}")
                away = True
            if give_up is not None and give_up():
                return False
            time.sleep(POLL_S)

    def release(self) -> None:
        """Let the next process have the lease; nothing if it is not held."""
        self._released.set()
        with self._changing:
            if not self._held:
                return
            self._held = False
            try:
                self._backend.swap(self._name, None, self._content)
            except (Unavailable, StoreError) as error:
                logger.warning(f"The lease of {self._label} could not be released and will lapse: {error}")

    def __enter__(self) -> Lease:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take(self, record: LeaseRecord, watch: Watch) -> bool:
        content_before = self._backend.read(self._name)
        if content_before is not None:
            # An earlier attempt may have succeeded although its answer was lost.
            current = read_record(content_before)
            ours = current is not None and current.owner == record.owner
            if not ours and not watch.holder_died(content_before):
                return False
        content = record.model_dump_json().encode()
        if not self._backend.swap(self._name, content, content_before):
            return False
        if content_before is not None:
            self.taken_over = True
            logger.info(f"Took over the lease of {self._label}: its holder has died.")
        with self._changing:
            self._content, self._owner, self._held = content, record.owner, True
            self._released = threading.Event()
        threading.Thread(target=self._beat, args=(record, self._released), daemon=True).start()
        return True

    def _beat(self, record: LeaseRecord, released: threading.Event) -> None:
        away = False
        while not released.wait(BEAT_S):
            # The number grows only after an answer, so that a retry writes the same content.
            following = record.model_copy(update={"beat": record.beat + 1})
            content = following.model_dump_json().encode()
            with self._changing:
                if released.is_set() or not self._held:
                    return
                try:
                    kept = self._backend.swap(self._name, content, self._content)
                # Of any kind: a holder that stopped renewing would not notice that it lost the lease.
                except Exception as error:
                    if not away:
                        logger.warning(f"The lease of {self._label} cannot be renewed, trying again: {error}")
                    away = True
                    continue
                away = False
                if not kept:
                    self._lose()
                    return
                record, self._content = following, content

    def _lose(self) -> None:
        self._held = False
        logger.warning(f"Lost the lease of {self._label}: another process has taken it over.")


def read_record(content: bytes | None) -> LeaseRecord | None:
    """The record; None without one, or if it is damaged: then nobody renews the lease and it lapses."""
    try:
        return None if content is None else LeaseRecord.model_validate_json(content)
    except ValidationError:
        return None
