"""Processes that stand for the ranks of one training run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from torch.multiprocessing.spawn import start_processes

RANKS = 2
SLOW_TO_IMPORT = ["torch._dynamo", "matplotlib.figure", "scipy.ndimage", "pytest", "tests.trainers.disc_slices"]
"""Not ultralytics, which reads its rank from the environment when it is imported."""


def run_ranks(work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(rank, *arguments)` in a fresh process for each rank, and wait for all.

    They are forks of one server that has imported what takes seconds; tests of one process share it.

    Raises:
        ProcessRaisedException: one of them failed.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(SLOW_TO_IMPORT)
    start_processes(work, arguments, nprocs=RANKS, start_method="forkserver")
