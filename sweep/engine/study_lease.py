"""One process at a time runs a study, delivers it to MLflow and promotes from it: it holds the study's lease."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sweep.store import Lease, Store
from sweep.store.lease import LOST_AFTER_S, OnWait
from sweep.store.process import Process
from sweep.studies.progress import last_update
from trainers.exceptions import StoreError

LEASE_LAPSES_S = LOST_AFTER_S + 5.0
"""How long to wait for the lease of a launch that may have died on another machine."""


def wait_for_other_process(study: str, store: Store, say: Callable[[str], None]) -> None:
    """Return once no other process holds the study's lease; writes nothing, so that a launch need not have begun.

    Args and errors as those of `only_process`.
    """
    _refuse_second(store.lease("study", study).wait_until_free, study, store, say)


@contextmanager
def only_process(study: str, store: Store, say: Callable[[str], None]) -> Iterator[Lease]:
    """Holds the study's lease within the block: two launches of one study would run its trials twice.

    Args:
        study: its name.
        store: the study's.
        say: shows a line to the person who waits.

    Raises:
        StoreError: another process that is alive holds the lease.
    """
    lease = store.lease("study", study)
    _refuse_second(lease.acquire, study, store, say)
    try:
        yield lease
    finally:
        lease.release()


def _refuse_second(
    wait: Callable[[Callable[[], bool], OnWait], bool], study: str, store: Store, say: Callable[[str], None]
) -> None:
    waited_for: Process | None = None

    def name_holder(holder: Process, silent_s: float) -> None:
        nonlocal waited_for
        if waited_for is None:
            say(
                f"Waiting for study {study}, which runs on {holder} ({last_update(silent_s)}; after "
                f"{LOST_AFTER_S:.0f} s without an update it counts as gone)."
            )
        waited_for = holder

    given_up = time.monotonic() + LEASE_LAPSES_S
    if not wait(lambda: time.monotonic() > given_up, name_holder):
        raise StoreError(
            f"Another command is launching study {study} with the store {store.uri}, on {waited_for}. Follow it "
            f"with `metsweep watch {study}`, wait for its end, or stop it with Ctrl-C where it runs."
        )
