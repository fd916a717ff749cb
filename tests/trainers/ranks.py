"""Processes that stand for the ranks of one training run."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed
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


def join_group(rank: int, folder: Path) -> None:
    """As a Ray Train worker does: environment and process group before the training loop."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(RANKS))
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
