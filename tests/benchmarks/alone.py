"""Runs of benchmarks in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def alone(run: Callable[..., T], folder: Path, *arguments: object) -> T:
    """`run(folder, *arguments)` in a process that no other run has warmed up or set the environment of."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_quiet, initargs=(folder,)) as pool:
        return pool.submit(run, folder, *arguments).result()


def _quiet(folder: Path) -> None:
    """What Ray and Tune print goes to a file, and costs them what it costs."""
    output = (folder / "printed.txt").open("w")
    for number in (1, 2):
        os.dup2(output.fileno(), number)
