"""One thread for each of several processes; imports nothing, so that libraries begin with it."""

from __future__ import annotations

import os
import sys


def use_one_thread() -> None:
    """Let this process, one of several, compute with one thread: torch, and BLAS if it is imported later."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
