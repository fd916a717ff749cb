"""What the commands print: tables on stdout, progress on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn

from sweep.cli import talk
from sweep.console import TextConsole
from sweep.engine.board import Board
from sweep.studies.progress import StageProgress, clock
from trainers.distributed import OnProgress

PLAIN_EVERY_SECONDS = 30.0
PLAIN_WIDTH = 120
"""Columns where output does not go to a terminal, and COLUMNS says nothing."""


def output(*, quiet: bool = False) -> TextConsole:
    """Console for results; with `quiet`, for what `--quiet` leaves out."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    return TextConsole(width=width, quiet=quiet and talk.wanted.quiet)


@contextmanager
def progress(label: str, console: TextConsole | None = None) -> Iterator[OnProgress]:
    """Shows how far one stage is: done of total, newest figures, time left; a bar on a terminal, lines elsewhere."""
    console = console or TextConsole(stderr=True, quiet=talk.wanted.quiet)
    board = Board()
    board.set_state(label, label, "running")
    with _bar(label, console) if console.is_terminal else _lines(label, console) as draw:

        def on_progress(done: int, total: int, metrics: Mapping[str, float]) -> None:
            board.advance(label, done, total, metrics)
            draw(board.snapshot()[label])

        yield on_progress


@contextmanager
def _bar(label: str, console: TextConsole) -> Iterator[Callable[[StageProgress], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = None

        def draw(stage: StageProgress) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task(label, total=stage.total, left="", figures="")
            bar.update(task, completed=stage.done, left=stage.time_left(), figures=stage.newest_figures())

        yield draw


@contextmanager
def _lines(label: str, console: TextConsole) -> Iterator[Callable[[StageProgress], None]]:
    began = time.time()
    said = 0.0

    def draw(stage: StageProgress) -> None:
        nonlocal said
        now = time.time()
        if now - said < PLAIN_EVERY_SECONDS and stage.done < stage.total:
            return
        said = now
        parts = (f"{label}: {stage.done:,} of {stage.total:,}", stage.time_left(), stage.newest_figures())
        console.say(f"[{clock(now - began)}] " + "  ".join(filter(None, parts)))

    yield draw
