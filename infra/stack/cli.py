"""`metsweep stack`: the servers of a cluster on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli import talk
from sweep.cli.commands import Command, Group
from sweep.cli.options import AsJson

if TYPE_CHECKING:
    from infra.stack.stack import Stack

FOLDER_OF_ROOT = Path("/var/lib/metsweep-stack")
"""PostgreSQL's user, who is not root, cannot enter /root."""

Folder = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        help=f"Folder of all data; default: metsweep-stack in the user's data folder ({FOLDER_OF_ROOT} for root).",
    ),
]

app = typer.Typer(
    cls=Group, help="Run PostgreSQL, SeaweedFS, MLflow, optuna-dashboard and Ray here.", rich_markup_mode=None
)


@app.command(cls=Command)
def up(folder: Folder = None) -> None:
    """Start the servers, or those of them that do not run.

    They are for this machine alone. Exit code 2 if a server cannot be started.

    \b
    Example:
      metsweep stack up
      eval "$(metsweep stack env)"
    """
    stack = _stack(folder)
    stack.up(talk.note)
    talk.note(f'The stack is up. Next: eval "$(metsweep stack env{stack.option})"')


@app.command(cls=Command)
def status(folder: Folder = None, as_json: AsJson = False) -> None:
    """Show each server, its address, state and memory.

    Exit code 1 unless all are usable.

    \b
    Example:
      metsweep stack status
    """
    from dataclasses import asdict

    from infra.stack.stack import USABLE
    from sweep.cli.console import output
    from sweep.console import TextTable
    from sweep.text import bytes_text

    servers = _stack(folder).status()
    if as_json:
        talk.say_json([asdict(server) for server in servers])
    else:
        table = TextTable("server", "state", "memory", "address", box=None, pad_edge=False)
        for server in servers:
            table.add_row(server.name, server.state, bytes_text(server.memory), server.address)
        output().print(table)
    if any(server.state != USABLE for server in servers):
        raise typer.Exit(1)


@app.command(cls=Command)
def down(
    folder: Folder = None,
    delete: Annotated[bool, typer.Option("--delete", help="Also remove all data: artifacts, runs, passwords.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without a question.")] = False,
) -> None:
    """Stop the servers; their data stay.

    \b
    Example:
      metsweep stack down
    """
    stack = _stack(folder)
    if delete and not yes:
        typer.confirm(f"Remove all artifacts, runs and models in {stack.folder}?", abort=True)
    stack.down(talk.note)
    if delete:
        stack.delete()
        talk.note(f"The data in {stack.folder} are removed.")
    if os.environ.get("METSWEEP_CACHE") == str(stack.folder / "cache"):
        talk.note('This shell still points at the stack. To undo that: eval "$(metsweep stack env --unset)"')


@app.command(cls=Command)
def env(
    folder: Folder = None,
    unset: Annotated[
        bool, typer.Option("--unset", help="Print what undoes that, also when the stack is down.")
    ] = False,
) -> None:
    """Print the shell commands that point metsweep, Ray, MLflow and AWS clients at the stack; they hold passwords.

    \b
    Example:
      eval "$(metsweep stack env)"
    """
    import shlex

    from infra.stack.variables import VARIABLES

    environment = dict.fromkeys(VARIABLES) if unset else _stack(folder).environment()
    lines = [f"unset {' '.join(name for name, value in environment.items() if value is None)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in environment.items() if value is not None]
    talk.say("\n".join(lines))


def _stack(folder: Path | None) -> Stack:
    import shlex

    from infra.stack.stack import Stack

    option = "" if folder is None else f" --dir {shlex.quote(str(folder))}"
    if folder is None:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
        folder = FOLDER_OF_ROOT if os.geteuid() == 0 else data / "metsweep-stack"
    return Stack(folder.expanduser().absolute(), option)
