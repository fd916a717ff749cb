"""`metsweep launch --detach`: the launch goes on after its terminal has closed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from sweep.cli import talk
from sweep.engine.launch import beginning_of_headline
from sweep.studies.opened import OpenedStudy

LOOK_EVERY_SECONDS = 0.2


def launch_detached(opened: OpenedStudy, arguments: Sequence[str]) -> None:
    """Launch a study in a session of its own; returns once the launch can no longer be refused.

    Args:
        opened: the study.
        arguments: of `metsweep`, which launch the study in the foreground.

    Raises:
        typer.Exit: the launch ended before; what it said is shown.
    """
    study = opened.study.name
    log = opened.store.local / "logs" / study / f"launch-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("xb") as file:
        launch = subprocess.Popen(
            # -P: a folder named `sweep` in the working directory is not ours.
            [sys.executable, "-P", "-m", "sweep.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for line in _lines(log, launch):
            talk.say(line, err=line.startswith("error: "))
            if line.startswith(beginning_of_headline(study)):
                break
        else:
            if code := launch.wait():
                raise typer.Exit(code)
            return
    except KeyboardInterrupt:
        launch.send_signal(signal.SIGINT)
        launch.wait()
        raise
    talk.say(f"The launch goes on as process {launch.pid}, also after this terminal has closed. Its output: {log}")
    talk.note(f"Next: metsweep watch {opened.given}")
    talk.note(f"To end it, as Ctrl-C would: kill {launch.pid}")


def _lines(log: Path, launch: subprocess.Popen[bytes]) -> Iterator[str]:
    """Lines of a launch's output as they come, until the launch has ended."""
    with log.open(errors="replace") as file:
        begun = ""
        while True:
            ended = launch.poll() is not None
            begun += file.read()
            *whole, begun = begun.split("\n")
            yield from whole
            if ended:
                yield from filter(None, [begun])
                return
            time.sleep(LOOK_EVERY_SECONDS)
