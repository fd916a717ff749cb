"""The fuzz harness itself: it sees what it is to see, and its limits hold."""

from __future__ import annotations

import os
import time
from random import Random

import pytest

from tests.fuzz import harness
from tests.fuzz.damage import TEXT, key_twice
from tests.fuzz.harness import damaged, fuzz
from trainers.exceptions import CohortError

GOOD = b'{"name": "a", "subjects": [\n{"patient_id": "A", "kind": "tumour"},\n{"patient_id": "B", "kind": "normal"}]}'


def of_number(_: bytes, random: Random) -> bytes:
    """An input that tells which it is."""
    return b"%d" % random.randrange(10**9)


def test_inputs_are_decided_by_seed_and_number() -> None:
    made = [damaged(GOOD, TEXT, 3, number) for number in range(200)]
    assert made == [damaged(GOOD, TEXT, 3, number) for number in range(200)]
    assert made != [damaged(GOOD, TEXT, 4, number) for number in range(200)]
    assert {name for name, _ in made} == TEXT.keys()
    assert len({content for _, content in made}) > 150


def test_a_repeated_key_is_there_twice() -> None:
    assert key_twice(b'{"a": 1, "b": 2}', Random(0)) in (b'{"a": 1, "b": 2, "a": 2}', b'{"a": 1, "b": 2, "b": 1}')


def refuse(content: bytes) -> int:
    if content == GOOD:
        return 1
    raise CohortError("no")


def test_outcomes_are_counted() -> None:
    assert fuzz(refuse, GOOD, {"n": of_number}, count=20).counts == {"refused": 20}
    assert fuzz(lambda _: 1, GOOD, {"n": of_number}, count=20).counts == {"same": 20}
    assert fuzz(lambda content: content, GOOD, {"n": of_number}, count=20).counts == {"other": 20}
    silent = fuzz(lambda content: content, GOOD, {"n": of_number}, count=20, illegal=["n"])
    assert silent.counts == {"fault": 20}
    assert silent.faults[7].startswith("seed 0, number 7 (n): silently another result: b'")


def hang(number: int) -> None:
    while True:
        number += 1


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda: {}["key"], "KeyError: 'key'"),
        (lambda: os._exit(3), "the process died (exit code 3)"),
        (lambda: bytearray(2**31), "MemoryError"),
        (lambda: hang(0), "not done after"),
        (lambda: time.sleep(1000), "no answer in"),
    ],
)
def test_faults_are_seen_and_what_comes_after_still_runs(
    monkeypatch: pytest.MonkeyPatch, fault: object, told: str
) -> None:
    monkeypatch.setattr(harness, "CPU_S", 0.2)
    monkeypatch.setattr(harness, "CLOCK_S", 1.0)
    bad = damaged(GOOD, {"n": of_number}, 0, 2)[1]
    tally = fuzz(lambda content: fault() if content == bad else 1, GOOD, {"n": of_number}, count=5)  # pyright: ignore[reportCallIssue]
    assert tally.counts == {"same": 4, "fault": 1}
    assert tally.faults[0].startswith("seed 0, number 2 (n): ")
    assert told in tally.faults[0]
