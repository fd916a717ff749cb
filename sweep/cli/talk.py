"""How commands print lines, and how many: `--quiet` and `--verbose`, which every command takes."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Any

import typer

from sweep.text import visible


@dataclass
class _Wanted:
    quiet: bool = False
    verbose: bool = False


wanted = _Wanted()
"""For the command that this process runs."""
_LOGGED = ("sweep", "trainers")


def begin() -> None:
    """Forget the options of a former command of this process; let a terminal's encoding refuse no text."""
    wanted.quiet = wanted.verbose = False
    for name in _LOGGED:
        logging.getLogger(name).removeHandler(_log)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def be_quiet(value: bool) -> None:
    """`--quiet`."""
    wanted.quiet |= value


def be_verbose(value: bool) -> None:
    """`--verbose`: log messages also go to stderr."""
    if not value or wanted.verbose:
        return
    wanted.verbose = True
    for name in _LOGGED:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(_log)


def say(line: object, *, err: bool = False, end: bool = True) -> None:
    """Print a result, or an error to stderr."""
    typer.echo(visible(line), err=err, nl=end)


def note(line: object, *, err: bool = False) -> None:
    """Print a hint, e.g. the next command or remembered options; nothing with `--quiet`."""
    if not wanted.quiet:
        say(line, err=err)


def say_json(value: Any) -> None:
    """Print the one JSON document of `--json`."""
    say(json_text(value))


def json_text(value: Any) -> str:
    """JSON, which has neither NaN nor infinity: undefined numbers become null."""
    from pydantic_core import to_json

    return to_json(value, indent=2, ensure_ascii=True, inf_nan_mode="null").decode()


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record), err=True)


_log = _ToStderr()
_log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
