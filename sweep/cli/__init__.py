"""The command line `metsweep`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from trainers.exceptions import MetsweepError

REFUSED = 2
STOPPED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `metsweep` with the arguments of this process, or with those given; returns the exit code.

    A user's mistake ends with one message on stderr and code 2, Ctrl-C with code 130; a traceback is a bug.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        import typer

        from sweep.cli.app import app

        try:
            code = app(arguments, prog_name="metsweep", standalone_mode=False) or 0
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "metsweep"
            message = error.format_message().rstrip(".")
            print(f"error: {message}. `{command} --help` shows what is allowed.", file=sys.stderr)
            return REFUSED
    except MetsweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        code = STOPPED
    if code == STOPPED:
        print("Stopped. The same command continues.", file=sys.stderr)
    return code
