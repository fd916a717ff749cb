"""`metsweep plan`, `launch` and `report`: a study from its plan to its table."""

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
    store: StoreFolder = None,
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

    plan = make_plan(load(study, fidelity, cohort, overrides))
    opened = Store(Settings.from_environment(store).store)
    made = build_report(plan, opened, gain)
    console = output()
    console.print("\n".join(made.header), soft_wrap=True)
    console.print(made.table())
    for section in made.sections:
        console.print(section.table())
    folder = out or opened.root / "reports" / plan.study.name
    written = made.write(folder)
    names = ", ".join(str(path.relative_to(folder)) for path in written)
    console.print(f"Written to {folder}: {names}", soft_wrap=True)


def load(study: str, fidelity: str | None, cohort: Path | None, overrides: list[str] | None) -> Study:
    """The study of a command."""
    from search_spaces.study import load_study

    folder = None if cohort is None else str(cohort)
    return load_study(study, fidelity=fidelity, cohort=folder, overrides=overrides or ())
