"""`metsweep plan`, `launch`, `report` and `promote`: a study from its plan to a champion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.cli.options import AsWritten, Overrides, StoreUri, StudyCohort, StudyFidelity, StudyName


def plan(
    study: StudyName,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreUri = None,
    as_written: AsWritten = False,
) -> None:
    """Show what a study would run, and what it would cost.

    Its arms and trials, which stages are in the store already, how many sharing saves; time on this machine or the
    cluster of RAY_ADDRESS, GPU-hours, CPU-hours, bytes and money, from what earlier stages took or else from operations
    counted; what has changed since the last launch. Nothing is run or written. What can never be placed on the cluster
    is refused.

    \b
    Example:
      metsweep plan quickstart --fidelity laptop
    """
    from sweep.cli.console import output
    from sweep.cli.loading import load
    from sweep.cli.planning import show_plan
    from sweep.settings import Settings
    from sweep.store import Store

    settings = Settings.from_environment(store)
    opened = Store(settings.store)
    resolved = load(study, fidelity, cohort, overrides, opened, as_written=as_written)
    show_plan(resolved, opened, settings, output())


def launch(
    study: StudyName,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreUri = None,
    as_written: AsWritten = False,
    fail_fast: Annotated[bool, typer.Option(help="Stop everything when a trial fails.")] = False,
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
    from sweep.cli.loading import extended, options_for, remembering
    from sweep.engine import launch as launching
    from sweep.engine.outcome import INTERRUPTED
    from sweep.settings import Settings
    from sweep.store import Store

    settings = Settings.from_environment(store)
    opened = Store(settings.store)
    options = options_for(study, fidelity, cohort, overrides, opened, as_written=as_written)
    resolved = extended(study, options, opened)
    with remembering(options, resolved.name, opened):
        launched = launching.launch(resolved, settings, output(), fail_fast)
    if launched.failed:
        for name, error in launched.failed.items():
            typer.echo(f"error: trial {name} failed: {error}", err=True)
        typer.echo(f"Next: metsweep status {study}; metsweep retry {study} --failed", err=True)
        raise typer.Exit(1)
    if launched.stopped:
        typer.echo(f"Ended early: {launched.stopped}. The same command continues.", err=True)
        raise typer.Exit(STOPPED if launched.stopped == INTERRUPTED else 1)
    typer.echo(f"Next: metsweep report {study}")


def report(
    study: StudyName,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.md, table1.csv and figures/; default: in the store.", show_default=False),
    ] = None,
    gain: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="True gain in sensitivity that the needed seeds are told for.")
    ] = 0.1,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreUri = None,
) -> None:
    """Show Table 1 of a study and the evidence behind it.

    Of every complete arm, on the test split: sensitivity and false positives (FPs) per slice, mean and standard
    deviation over seeds; its gain over the real-only arm with interval and adjusted p, also at equal FPs; sensitivity
    at 1, 2, 4 and 8 FPs per slice, over whole lesions, by lesion diameter and by scanner, and by chance. On the console
    and as Markdown, CSV and pictures.

    \b
    Example:
      metsweep report quickstart --out report
    """
    from sweep.cli.console import output
    from sweep.cli.loading import load
    from sweep.plan import make_plan
    from sweep.report.report import build_report
    from sweep.settings import Settings
    from sweep.store import Store

    opened = Store(Settings.from_environment(store).store)
    plan = make_plan(load(study, fidelity, cohort, overrides, opened))
    made = build_report(plan, opened, gain)
    console = output()
    console.print("\n".join(made.header), soft_wrap=True)
    console.print(made.table())
    for section in made.sections:
        console.print(section.table())
    folder = out or opened.local / "reports" / plan.study.name
    written = made.write(folder)
    names = ", ".join(str(path.relative_to(folder)) for path in written)
    console.print(f"Written to {folder}: {names}", soft_wrap=True)


def promote(
    study: StudyName,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreUri = None,
) -> None:
    """Make the best trial's models the champions.

    The best trial has the highest validation sensitivity at IoU 0.5; its detector becomes metsweep-detector@champion
    in the MLflow registry, the GAN behind it metsweep-generator@champion, once each has predicted in a fresh process.

    \b
    Example:
      metsweep promote quickstart
    """
    from sweep.cli.loading import load
    from sweep.plan import make_plan
    from sweep.registry import registry
    from sweep.settings import Settings
    from sweep.store import Store
    from sweep.tracking.tracker import Tracker

    settings = Settings.from_environment(store)
    opened = Store(settings.store)
    plan = make_plan(load(study, fidelity, cohort, overrides, opened))
    found = registry.promote(plan, opened, Tracker(settings.tracking_uri, plan, opened))
    typer.echo(
        f"Best trial: {found.best.name}, validation sensitivity {found.sensitivity:.3f} at "
        f"{found.fps_per_slice:.2f} FPs per slice (IoU 0.5)."
    )
    for entry in filter(None, (found.detector, found.generator)):
        since = "now the champion" if entry.newly_champion else "the champion already"
        typer.echo(f"{entry.uri}: version {entry.version}, of {entry.trial}, is {since}.")
    typer.echo("Next: metsweep detect VOLUME.nii.gz --out found, and metsweep ui")
