"""How a launch ended, in words and as an exit code."""

from __future__ import annotations

import typer

from sweep.cli import talk
from sweep.cli.exit_codes import STOPPED
from sweep.engine.launch import Launched
from sweep.studies.outcome import StopReason


def say_end(launched: Launched, study: str) -> None:
    """Say what failed and what to do next.

    Args:
        study: as the person named it.

    Raises:
        typer.Exit: the study is not done.
    """
    for name, error in launched.failed.items():
        talk.say(f"error: trial {name} failed: {error}", err=True)
    if launched.undelivered:
        talk.say(f"MLflow lacks runs of this study. To upload them: metsweep track {study}", err=True)
    if launched.stopped == StopReason.INTERRUPTED:
        raise typer.Exit(STOPPED)
    if launched.stopped:
        talk.say(f"Stopped: {launched.stopped.text}. Run the same command again to resume.", err=True)
        raise typer.Exit(1)
    if launched.failed:
        talk.note(f"After fixing the cause: metsweep retry {study} --failed", err=True)
        raise typer.Exit(1)
    if launched.undelivered:
        raise typer.Exit(1)
    talk.note(f"Next: metsweep report {study}")
