"""Commands of other rooms and packages, which join through entry points of the group `metsweep.commands`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

from sweep.cli import talk
from sweep.cli.commands import OTHERS, Command, Group

ENTRY_POINTS = "metsweep.commands"


class Root(Group):
    """All commands; those of other rooms are loaded only when they are listed or called."""

    _joined = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, also of another room."""
        if cmd_name not in self.commands:
            self._join()
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the own commands, then those of other rooms."""
        self._join()
        return super().list_commands(ctx)

    def _join(self) -> None:
        """Add the commands of other rooms; those that cannot be loaded are reported and left out."""
        if self._joined:
            return
        self._joined = True
        for entry in entry_points(group=ENTRY_POINTS):
            try:
                if entry.name in self.commands:
                    raise ValueError("metsweep already has a command of that name")
                self.commands[entry.name] = _command(entry)
            except Exception as error:
                package = entry.dist.name if entry.dist else "its package"
                talk.say(
                    f"Command {entry.name} ({entry.value}) is left out: {type(error).__name__}: {error}. Update or "
                    f"uninstall {package}.",
                    err=True,
                )


def _command(entry: EntryPoint) -> Any:
    """The command of an entry point: a function is one command, a `typer.Typer` several."""
    loaded = entry.load()
    if not isinstance(loaded, typer.Typer):
        function, loaded = loaded, typer.Typer(add_completion=False, rich_markup_mode=None)
        loaded.command(entry.name, cls=Command)(function)
    command: Any = typer.main.get_command(loaded)
    command.name, command.rich_help_panel = entry.name, OTHERS
    return command
