"""What is done beside the work goes on whatever happens to it."""

from __future__ import annotations

import threading

import pytest

from sweep.repeating import repeating


def test_an_error_is_logged_once_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    calls, enough = 0, threading.Event()

    def fail() -> None:
        nonlocal calls
        calls += 1
        if calls > 4:
            enough.set()
        if calls != 3:
            raise ValueError("again")

    with repeating(fail, lambda: 0.001):
        assert enough.wait(20)
    assert [record.message for record in caplog.records].count("an action beside the work failed") == 1
