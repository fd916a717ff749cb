"""`metsweep plan` and `launch`: what a study would run, and running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli.options import Overrides, StoreFolder, StudyCohort, StudyFidelity, StudyName

if TYPE_CHECKING:
    from search_spaces.study import Study


def plan(
    study: StudyName,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreFolder = None,
) -> None:
    """Show what a study would run.

    Its arms and trials, which stages are in the store already, how many sharing saves, and how long the rest takes by
    what earlier stages took. Nothing is run or written.

    \b
    Example:
      metsweep plan quickstart --fidelity laptop
    """
    from sweep.cli.console import output
    from sweep.cli.plan_tables import show_plan
    from sweep.plan import make_plan
    from sweep.settings import Settings
    from sweep.store import Store

    made = make_plan(load(study, fidelity, cohort, overrides))
    show_plan(made, Store(Settings.from_environment(store).store), output())


def launch(
    study: StudyName,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreFolder = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop everything when a trial fails.")] = False,
) -> None:
    """Run a study.

    Runs every stage that is not in the store, on this machine or on the Ray cluster of RAY_ADDRESS. Stopped or killed
    at any moment, the same command continues; what is done is not done again. Every run is logged to MLflow
    (MLFLOW_TRACKING_URI, else mlflow.db in the working directory).

    \b
    Example:
      metsweep launch quickstart --cohort demo-cohort
    """
    resolved = load(study, fidelity, cohort, overrides)
    from sweep.cli.console import output
    from sweep.engine import launch as launching
    from sweep.engine.outcome import INTERRUPTED
    from sweep.settings import Settings

    launched = launching.launch(resolved, Settings.from_environment(store), output(), fail_fast=fail_fast)
    for name, error in launched.failed.items():
        typer.echo(f"error: trial {name} failed: {error}", err=True)
    if launched.stopped:
        typer.echo(f"Stopped: {launched.stopped}. The same command continues.", err=True)
        raise typer.Exit(130 if launched.stopped == INTERRUPTED else 1)
    if launched.failed:
        raise typer.Exit(1)
    typer.echo(f"Next: metsweep report {study}")


def load(study: str, fidelity: str | None, cohort: Path | None, overrides: list[str] | None) -> Study:
    """The study of a command."""
    from search_spaces.study import load_study

    folder = None if cohort is None else str(cohort)
    return load_study(study, fidelity=fidelity, cohort=folder, overrides=overrides or ())
