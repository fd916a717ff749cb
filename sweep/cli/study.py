"""`metsweep plan` and `launch`: what a study would run, and running it."""

from __future__ import annotations

from typing import Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson, AsWritten, Overrides, StoreUri, StudyCohort, StudyFidelity, StudyName


def plan(
    study: StudyName,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreUri = None,
    as_written: AsWritten = False,
    as_json: AsJson = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read all files of the cohort, also those read before."),
    ] = False,
) -> None:
    """Show what a study would run, and what it would cost.

    Its arms and trials, which stages are in the store already, how many sharing saves; time on this machine or the
    cluster of RAY_ADDRESS, GPU-hours, CPU-hours, bytes and money, from what earlier stages took or else from operations
    counted; what has changed since the last launch. Nothing is run, and nothing is written but a cache of
    file digests. Where this machine or cluster can never
    run the study, it says why, and what the study costs elsewhere.

    \b
    Example:
      metsweep plan quickstart --fidelity laptop
    """
    from sweep.cli.console import output
    from sweep.cli.loading import load
    from sweep.cli.places import with_database
    from sweep.cli.planning import look_ahead, show_plan
    from sweep.settings import Settings
    from sweep.store import Store

    settings = Settings.from_environment(store)
    opened = Store(settings.store)
    resolved = load(study, fidelity, cohort, overrides, opened, as_written=as_written)
    outlook = look_ahead(resolved, opened, with_database(settings, resolved, opened), verify)
    if as_json:
        from sweep.cli.plan_json import as_dict

        talk.say_json(as_dict(outlook))
        return
    show_plan(outlook, output())


def launch(
    study: StudyName,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreUri = None,
    as_written: AsWritten = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop everything when a trial fails.")] = False,
) -> None:
    """Run a study.

    Runs every stage that is not in the store, on this machine or on the Ray cluster of RAY_ADDRESS. Stopped or killed
    at any moment, the same command continues; what is done is not done again. Every run is logged to MLflow
    (MLFLOW_TRACKING_URI, else mlflow.db in the working directory). --fidelity, --cohort and --set are remembered: the
    other commands, and the next launch, need not be given them again.

    \b
    Example:
      metsweep launch quickstart --cohort demo-cohort
    """
    from sweep.cli import STOPPED
    from sweep.cli.console import output
    from sweep.cli.loading import extended, options_for, remember
    from sweep.cli.places import with_database
    from sweep.engine import launch as launching
    from sweep.report.report import write_report
    from sweep.settings import Settings
    from sweep.store import Store
    from sweep.studies.outcome import INTERRUPTED

    settings = Settings.from_environment(store)
    opened = Store(settings.store)
    options = options_for(study, fidelity, cohort, overrides, opened, as_written=as_written)
    resolved = extended(study, options, opened)
    settings = with_database(settings, resolved, opened)
    launched = launching.launch(
        resolved,
        settings,
        output(quiet=True),
        write_report,
        fail_fast=fail_fast,
        accepted=lambda: remember(study, options, resolved, opened, settings),
    )
    for name, error in launched.failed.items():
        talk.say(f"error: trial {name} failed: {error}", err=True)
    if launched.undelivered:
        talk.say(f"MLflow lacks runs of this study, the store has them: metsweep track {study}", err=True)
    if launched.stopped == INTERRUPTED:
        raise typer.Exit(STOPPED)
    if launched.stopped:
        talk.say(f"Stopped: {launched.stopped}. The same command continues.", err=True)
        raise typer.Exit(1)
    if launched.failed:
        talk.note(f"When the cause is mended: metsweep retry {study} --failed", err=True)
        raise typer.Exit(1)
    if launched.undelivered:
        raise typer.Exit(1)
    talk.note(f"Next: metsweep report {study}")
