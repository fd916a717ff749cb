from __future__ import annotations

import operator
import os
import time

import pytest

from tests.benchmarks.guarded import FailedError, Guarded


def test_a_call_that_fails_hangs_or_dies_does_not_keep_the_next_from_being_made() -> None:
    with Guarded(20) as call:
        same = call(os.getpid)
        assert call(os.getpid) == same != os.getpid()
        with pytest.raises(FailedError, match=r"ZeroDivisionError: .* by zero"):
            call(operator.floordiv, 1, 0)
        assert call(os.getpid) != same, "a GPU does not recover in the process that had the error"
        with pytest.raises(FailedError, match="its process died"):
            call(os._exit, 0)
        call._seconds = 0.2
        with pytest.raises(FailedError, match=r"not done after 0\.2 s"):
            call(time.sleep, 60)
        call._seconds = 20
        assert call(operator.add, 2, 3) == 5
