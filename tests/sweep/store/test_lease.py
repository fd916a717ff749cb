"""Leases: one holder at a time, none lost by trouble that passes, none kept by the dead."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event

import pytest

from sweep.store import Lease, Store, lease
from sweep.store.backend import Backend, Unavailable
from sweep.store.lease import LeaseRecord, read_record
from sweep.store.process import Process
from trainers.exceptions import LostLeaseError

SPAWN = multiprocessing.get_context("spawn")
NAME = "leases/gan/k1.json"


def at_once() -> bool:
    """Give up after one attempt."""
    return True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time runs six times as fast."""
    monkeypatch.setattr(lease, "BEAT_S", 0.5)
    monkeypatch.setattr(lease, "LOST_AFTER_S", 2.5)
    monkeypatch.setattr(lease, "POLL_S", 0.1)


@pytest.fixture
def no_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every other process were on another machine."""
    monkeypatch.setattr(Process, "is_gone", property(lambda _: False))


def beat(store: Store) -> int:
    record = read_record(store.backend.read(NAME) or b"")
    assert record is not None
    return record.beat


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_of_sixteen_threads_one_wins(store: Store) -> None:
    leases = [store.lease("gan", "k1") for _ in range(16)]
    together = threading.Barrier(16)

    def race(one: Lease) -> bool:
        together.wait()
        return one.acquire(at_once)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(race, leases))
    assert won.count(True) == 1
    assert [one.held for one in leases] == won
    leases[won.index(True)].release()
    assert store.backend.read(NAME) is None
    assert leases[(won.index(True) + 1) % 16].acquire(at_once)


@pytest.mark.usefixtures("quick")
def test_waiters_follow_each_other_and_any_thread_may_release(store: Store) -> None:
    inside, most, done = 0, 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal inside, most, done
        one = store.lease("gan", "k1")
        assert one.acquire()
        with counting:
            inside += 1
            most = max(most, inside)
        time.sleep(0.2)
        with counting:
            inside -= 1
            done += 1
        releasing = threading.Thread(target=one.release)
        releasing.start()
        releasing.join()
        assert not one.held

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work) for _ in range(4)]:
            future.result()
    assert (most, done) == (1, 4)


def test_context_manager_and_giving_up(store: Store) -> None:
    asked = 0

    def after_three() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with store.lease("gan", "k1") as held:
        assert held.held
        assert held.acquire(at_once)
        assert store.lease("gan", "k2").acquire(at_once)
        assert not store.lease("gan", "k1").acquire(after_three)
        assert asked == 3
    assert not held.held
    assert store.lease("gan", "k1").acquire(at_once)


def _hold(store: Store, held: Event) -> None:
    store.lease("gan", "k1").acquire()
    held.set()
    threading.Event().wait()


def start_holder(store: Store) -> BaseProcess:
    held = SPAWN.Event()
    owner = SPAWN.Process(target=_hold, args=(store, held))
    owner.start()
    assert held.wait(120)
    return owner


def test_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(store: Store) -> None:
    owner = start_holder(store)
    try:
        waiting = store.lease("gan", "k1")
        assert not waiting.acquire(at_once)
    finally:
        # Not joined: a dead process that nobody has waited for is dead too.
        os.kill(owner.pid or 0, signal.SIGKILL)
    began = time.monotonic()
    assert waiting.acquire()
    assert time.monotonic() - began < 2
    owner.join()


@pytest.mark.usefixtures("quick", "no_fast_path")
def test_lease_of_a_dead_process_elsewhere_lapses(store: Store) -> None:
    owner = start_holder(store)
    owner.kill()
    owner.join()
    waiting = store.lease("gan", "k1")
    began = time.monotonic()
    assert waiting.acquire()
    assert 2.5 <= time.monotonic() - began < 10


def test_a_reused_process_number_is_not_taken_for_the_holder() -> None:
    this = Process.this()
    assert not this.is_gone
    assert this.model_copy(update={"started": this.started - 1}).is_gone
    elsewhere = this.model_copy(update={"machine": "another boot", "started": this.started - 1})
    assert not elsewhere.is_gone


@pytest.mark.usefixtures("quick", "no_fast_path")
def test_a_clock_that_is_set_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    holder, waiting = store.lease("gan", "k1"), store.lease("gan", "k1")
    assert holder.acquire(at_once)
    began, now = time.monotonic(), time.time()
    # Hours forward and back again, with each look at the clock.
    monkeypatch.setattr(time, "time", lambda: now + 7200 * (-1) ** int(time.monotonic() * 10))
    assert not waiting.acquire(lambda: time.monotonic() - began > 4)
    assert holder.held


@pytest.mark.usefixtures("quick", "no_fast_path")
def test_a_holder_that_was_stopped_too_long_finds_its_lease_lost(store: Store) -> None:
    holder, waiting = store.lease("gan", "k1"), store.lease("gan", "k1")
    assert holder.acquire(at_once)
    with holder._changing:  # its beats wait, as in a stopped process
        assert waiting.acquire()
        assert holder.held
    wait_for(lambda: not holder.held)
    holder.release()
    assert waiting.held
    assert not store.lease("gan", "k1").acquire(at_once)


@pytest.mark.usefixtures("quick", "no_fast_path")
def test_trouble_of_the_store_loses_no_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written for three times as long as a lease takes to lapse; then both go on."""
    holder, waiting = store.lease("gan", "k1"), store.lease("gan", "k1")
    assert holder.acquire(at_once)
    pool = ThreadPoolExecutor(1)
    waited = pool.submit(waiting.acquire)

    def refuse(*_: object) -> bool:
        raise Unavailable("The disk is read-only.")

    with monkeypatch.context() as trouble:
        trouble.setattr(type(store.backend), "swap", refuse)
        trouble.setattr(type(store.backend), "write", refuse)
        trouble.setattr(type(store.backend), "probe", refuse)
        time.sleep(7.5)
    assert holder.held
    before = beat(store)
    wait_for(lambda: beat(store) > before)
    assert holder.held
    assert not waited.done()
    holder.release()
    assert waited.result(timeout=20)
    assert not holder.held


@pytest.mark.usefixtures("quick")
def test_an_answer_that_was_lost_does_not_lose_the_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has done what it was asked, but the connection broke before it said so."""
    whole, calls = type(store.backend).swap, 0

    def answer_lost(backend: Backend, *arguments: object) -> bool:
        nonlocal calls
        calls += backend is store.backend  # holders that other tests left behind beat, too
        done = whole(backend, *arguments)  # pyright: ignore[reportArgumentType]
        if calls % 2:
            raise Unavailable("The answer was lost.")
        return done

    monkeypatch.setattr(type(store.backend), "swap", answer_lost)
    one = store.lease("gan", "k1")
    assert one.acquire()
    before = beat(store)
    wait_for(lambda: beat(store) > before + 2)
    assert one.held


@pytest.mark.usefixtures("quick")
def test_a_damaged_lease_lapses(store: Store) -> None:
    store.backend.write(NAME, b"{")
    assert store.lease("gan", "k1").acquire()


def test_a_lease_says_who_holds_it(store: Store) -> None:
    with store.lease("gan", "k1"):
        record = LeaseRecord.model_validate_json(store.backend.read(NAME) or b"")
        assert record.process == Process.this()
        assert record.process.pid == os.getpid()


@pytest.mark.usefixtures("quick", "no_fast_path")
def test_who_was_suspended_learns_from_the_store_itself_that_its_lease_is_lost(store: Store) -> None:
    holder, waiting = store.lease("gan", "k1"), store.lease("gan", "k1")
    assert holder.acquire(at_once)
    fence = holder.fence
    assert holder.check()
    assert fence.holds()
    with holder._changing:  # its beats wait, as in a stopped process
        assert waiting.acquire()
        assert not fence.holds()
    assert not holder.check()
    with pytest.raises(LostLeaseError, match=f"process {os.getpid()}"):
        holder.refuse_if_lost()
    assert waiting.check()
    assert waiting.fence.holds()
    waiting.release()
    assert not waiting.check()


@pytest.mark.usefixtures("quick")
def test_a_store_that_is_away_has_given_the_lease_to_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = store.lease("gan", "k1")
    assert holder.acquire(at_once)

    def refuse(*_: object) -> bytes:
        raise Unavailable("It is away.")

    with monkeypatch.context() as trouble:
        trouble.setattr(type(store.backend), "read", refuse)
        assert holder.check()
        assert holder.holder() is None
    assert holder.check()


@pytest.mark.usefixtures("quick")
def test_no_error_ends_the_beats_of_a_holder(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = type(store.backend).swap, 0

    def break_twice(backend: Backend, *arguments: object) -> bool:
        nonlocal calls
        calls += backend is store.backend  # holders that other tests left behind beat, too
        if backend is store.backend and calls in (2, 3):
            raise ValueError("nobody thought of this")
        return whole(backend, *arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(type(store.backend), "swap", break_twice)
    one = store.lease("gan", "k1")
    assert one.acquire()
    wait_for(lambda: beat(store) > 1)
    assert one.held


@pytest.mark.usefixtures("quick", "no_fast_path")
def test_whom_one_waits_for_is_told_and_how_long_it_was_silent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "NAMED_AFTER_S", 0.3)
    holder, waiting = store.lease("gan", "k1"), store.lease("gan", "k1")
    assert holder.acquire(at_once)
    told: list[tuple[Process, float]] = []
    with holder._changing:
        assert waiting.acquire(on_wait=lambda process, silent_s: told.append((process, silent_s)))
    assert told
    assert all(process == Process.this() for process, _ in told)
    silent = [silent_s for _, silent_s in told]
    assert silent == sorted(silent)
    assert silent[-1] > 2
