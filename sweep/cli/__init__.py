"""The command line `metsweep`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from sweep.cli.exit_codes import FAULT, REFUSED, STOPPED
from sweep.redaction import without_secrets
from sweep.text import visible
from trainers.exceptions import MetsweepError

if TYPE_CHECKING:
    from typer import TyperException


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `metsweep` with the arguments of this process, or with those given; returns the exit code.

    A user's mistake ends with one message on stderr and code 2, Ctrl-C with code 130. An unexpected
    error ends with one line and code 1; its traceback is kept in a file.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        with _faults_of_threads(arguments):
            code = _run(arguments)
        sys.stdout.flush()
    except MetsweepError as error:
        _say_error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        code = STOPPED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return FAULT
        return _fault(error, arguments)
    if code == STOPPED:
        print("Stopped. Run the same command again to resume.", file=sys.stderr)
    return code


def _run(arguments: list[str]) -> int:
    import typer

    from sweep.cli import talk
    from sweep.cli.app import app

    talk.begin()
    try:
        return app(arguments, prog_name="metsweep", standalone_mode=False) or 0
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "metsweep"
        message = _refused_value(error) or error.format_message().rstrip(".")
        _say_error(f"{message}. `{command} --help` shows what is allowed.")
        return REFUSED


def _refused_value(error: TyperException) -> str | None:
    """What was got for an option and what is allowed, which Typer says in pydantic's words; None for other mistakes."""
    from pydantic import ValidationError

    parameter: Any = getattr(error, "param", None)
    if parameter is None or not isinstance(error.__cause__, ValidationError):
        return None
    problem = error.__cause__.errors()[0]
    limits = problem.get("ctx", {})
    if get_origin(annotation := parameter.type_descriptor.annotation) is Literal:
        allowed = ", ".join(get_args(annotation))
    elif "ge" in limits or "le" in limits:
        allowed = f"{limits['ge']:g} or more" if "ge" in limits else f"{limits['le']:g} or less"
    else:
        allowed = problem["msg"].removeprefix("Input should be ").partition(",")[0]
    return f"{parameter.opts[0]} is {problem['input']!r}; allowed: {allowed}"


@contextmanager
def _faults_of_threads(arguments: Sequence[str]) -> Iterator[None]:
    """A thread that dies reports its error as the command itself does."""

    def report(died: threading.ExceptHookArgs) -> None:
        if isinstance(died.exc_value, Exception):
            _fault(died.exc_value, arguments)

    before, threading.excepthook = threading.excepthook, report
    try:
        yield
    finally:
        threading.excepthook = before


def _nobody_reads() -> bool:
    """Whether stdout no longer has a reader (`metsweep store ls | head`); nothing is written there from then on."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _fault(error: Exception, arguments: Sequence[str]) -> int:
    from sweep.cli.fault import describe, keep_traceback, traceback_of
    from sweep.cli.talk import wanted

    if wanted.verbose:
        print(visible(traceback_of(error)), file=sys.stderr)
    _say_error(f"{describe(error)}. {keep_traceback(error, arguments)}")
    return FAULT


def _say_error(message: str) -> None:
    print(f"error: {visible(without_secrets(message))}", file=sys.stderr)
