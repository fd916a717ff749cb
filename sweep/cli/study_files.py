"""`metsweep study`: write, list and show study files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import StudyFileOptions, spread
from trainers.exceptions import ConfigError

NewFile = Annotated[Path | None, typer.Option("--out", help="File to write; default: NAME.yaml.")]
SchemaFile = Annotated[Path | None, typer.Option("--out", help="File to write; default: print it.")]


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the study.")],
    like: Annotated[str, typer.Option(help="Study to start from: a shipped study or a YAML file.")] = "quickstart",
    out: NewFile = None,
) -> None:
    """Write a study file to edit.

    The file holds the values of the study named by --like, a comment above each key, and examples of other keys.

    \b
    Example:
      metsweep study new mine --like count_curve
    """
    from search_spaces.text import new_study

    path = out or Path(f"{name}.yaml")
    text = new_study(name, like)
    if path.suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"--out {path}: allowed are names that end in .yaml or .yml.")
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} already exists. Choose another --out, or remove it.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
    talk.note(f"Written: {path}. Edit it, then: metsweep plan {path}")


def list_studies() -> None:
    """List the shipped studies.

    \b
    Example:
      metsweep study list
    """
    from search_spaces.study import load_study, shipped
    from sweep.cli.console import output
    from sweep.console import TextTable

    table = TextTable("study", "fidelity", "cells", "drawn", "seeds", "description")
    for name, path in shipped("studies").items():
        study = load_study(name)
        asks = path.read_text().partition("\n")[0].lstrip("# ")
        drawn = str(study.search.trials) if study.search.draws else "-"
        table.add_row(name, study.fidelity, str(len(study.cells())), drawn, str(len(study.seeds)), asks)
    output().print(table)


@spread
def show(
    chosen: StudyFileOptions,
    everything: Annotated[bool, typer.Option("--all", help="Also show defaults.")] = False,
) -> None:
    """Show a resolved study as YAML.

    Each value is followed by its origin: the fidelity's or the study's file and line, an option, or the default. The
    output is itself a valid study file.

    \b
    Example:
      metsweep study show quickstart --set gan.batch_size=4
    """
    from search_spaces.study import resolve_study
    from search_spaces.text import show_study

    given = chosen.given
    resolved = resolve_study(chosen.study, fidelity=given.fidelity, cohort=given.cohort, overrides=given.overrides)
    talk.say(show_study(resolved, everything), end=False)


def schema(out: SchemaFile = None) -> None:
    """Print the JSON schema of study files, for editors that complete and check YAML.

    \b
    Example:
      metsweep study schema --out study.schema.json
    """
    import json

    from search_spaces.json_schema import study_schema

    text = json.dumps(study_schema(), indent=2)
    if out is None:
        talk.say(text)
        return
    try:
        out.write_text(text + "\n")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.") from None
    talk.note(f"Written: {out}. First line of a study file: # yaml-language-server: $schema={out}")
