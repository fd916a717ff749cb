"""Shared by all commands: `--quiet`, `--verbose` and `-h`, and help that lists commands in groups."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from sweep.cli import talk


def _common(
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Results and errors only.", callback=talk.be_quiet)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show log messages on stderr.", callback=talk.be_verbose)
    ] = False,
) -> None: ...


def _common_parameters() -> list[Any]:
    app = typer.Typer(add_completion=False)
    app.command()(_common)
    parameters = typer.main.get_command(app).params
    for parameter in parameters:
        parameter.expose_value = False
    return parameters


COMMON = _common_parameters()


class Command(TyperCommand):
    """A command with the common options."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's own options, the common ones, and help."""
        own = super().get_params(ctx)
        return [*own[:-1], *COMMON, own[-1]]

    def invoke(self, ctx: Any) -> Any:
        """Run the command, after a warning on variables that are almost settings."""
        from sweep.settings import unknown_variables

        for complaint in unknown_variables():
            talk.say(f"warning: {complaint}", err=True)
        return super().invoke(ctx)


class Group(TyperGroup):
    """Commands, listed under the titles that they were given (`rich_help_panel`); plain, as rich is slow to import."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's own options, the common ones, and help."""
        own = super().get_params(ctx)
        return [*own[:-1], *COMMON, own[-1]]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of commands."""
        panels: dict[str, list[tuple[str, str]]] = {}
        names = [name for name in self.list_commands(ctx) if not self.commands[name].hidden]
        width = max(map(len, names))
        for name in names:
            command = self.commands[name]
            panel = getattr(command, "rich_help_panel", None)
            line = command.get_short_help_str(formatter.width - 6 - width)
            panels.setdefault(panel if isinstance(panel, str) else "Commands", []).append((name.ljust(width), line))
        for title in sorted(panels, key=lambda title: PANELS.index(title) if title in PANELS else len(PANELS)):
            with formatter.section(title):
                formatter.write_dl(panels[title])


DATA, STUDIES, MODELS, MACHINE = "Data and single stages", "Studies", "Models", "Store and machine"
PANELS = (DATA, STUDIES, MODELS, MACHINE)
"""Titles in the order of the help."""
OTHERS = "Commands of other packages"
"""Title of the commands that join through entry points, listed last."""
