"""`metsweep plan`, `launch`, `report` and `promote`: a study from its plan to a champion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli.options import Overrides, StoreUri, StudyCohort, StudyFidelity, StudyName

if TYPE_CHECKING:
    from search_spaces.study import Study


def plan(
    study: StudyName,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreUri = None,
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

    made = make_plan(_load(study, fidelity, cohort, overrides))
    show_plan(made, Store(Settings.from_environment(store).store), output())


def launch(
    study: StudyName,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreUri = None,
) -> None:
    """Run a study.

    Runs every stage that is not in the store, on this machine or on the Ray cluster of RAY_ADDRESS. Stopped or killed
    at any moment, the same command continues; what is done is not done again. Every run is logged to MLflow
    (MLFLOW_TRACKING_URI, else mlflow.db in the working directory).

    \b
    Example:
      metsweep launch quickstart --cohort demo-cohort
    """
    resolved = _load(study, fidelity, cohort, overrides)
    from sweep.cli.console import output
    from sweep.engine import launch as launching
    from sweep.settings import Settings

    failed = launching.launch(resolved, Settings.from_environment(store), output())
    if failed:
        for name, error in failed.items():
            typer.echo(f"error: trial {name} failed: {error}", err=True)
        raise typer.Exit(1)
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
    from sweep.plan import make_plan
    from sweep.report.report import build_report
    from sweep.settings import Settings
    from sweep.store import Store

    plan = make_plan(_load(study, fidelity, cohort, overrides))
    opened = Store(Settings.from_environment(store).store)
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
    from sweep.plan import make_plan
    from sweep.registry import registry
    from sweep.settings import Settings
    from sweep.store import Store
    from sweep.tracking.tracker import Tracker

    plan = make_plan(_load(study, fidelity, cohort, overrides))
    settings = Settings.from_environment(store)
    opened = Store(settings.store)
    found = registry.promote(plan, opened, Tracker(settings.tracking_uri, plan, opened))
    typer.echo(
        f"Best trial: {found.best.name}, validation sensitivity {found.sensitivity:.3f} at "
        f"{found.fps_per_slice:.2f} FPs per slice (IoU 0.5)."
    )
    for entry in filter(None, (found.detector, found.generator)):
        since = "now the champion" if entry.newly_champion else "the champion already"
        typer.echo(f"{entry.uri}: version {entry.version}, of {entry.trial}, is {since}.")
    typer.echo("Next: metsweep detect VOLUME.nii.gz --out found, and metsweep ui")


def _load(study: str, fidelity: str | None, cohort: Path | None, overrides: list[str] | None) -> Study:
    from search_spaces.study import load_study

    folder = None if cohort is None else str(cohort)
    return load_study(study, fidelity=fidelity, cohort=folder, overrides=overrides or ())
