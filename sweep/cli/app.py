"""All commands; what they need is imported when they run, so that help appears at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sweep.cli import (
    by_hand,
    cohort,
    cohort_import,
    cohort_report,
    config,
    control,
    detect,
    logs,
    machine,
    promote,
    realism,
    registry,
    report,
    score,
    slices,
    store,
    study,
    study_files,
    track,
)
from sweep.cli.commands import DATA, MACHINE, MODELS, STUDIES, Command, Group
from sweep.cli.rooms import Root

# Plain help: it keeps the examples' lines as they are, and importing rich for it would double its time.
app = typer.Typer(
    name="metsweep",
    cls=Root,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"metsweep {version('metsweep')}")
        raise typer.Exit


@app.callback()
def metsweep(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Find out which synthetic MR slices make a brain-metastasis detector miss fewer lesions.

    To begin: `metsweep doctor`, `metsweep cohort demo demo-cohort`, `metsweep launch quickstart`.
    """


def _add(panel: str, *commands: Callable[..., Any]) -> None:
    for command in commands:
        app.command(command.__name__, cls=Command, rich_help_panel=panel)(command)


def _add_group(name: str, panel: str, summary: str, **commands: Callable[..., Any]) -> None:
    group = typer.Typer(cls=Group, help=summary, rich_markup_mode=None)
    for command, function in commands.items():
        group.command(command, cls=Command)(function)
    app.add_typer(group, name=name, rich_help_panel=panel)


_add_group(
    "cohort",
    DATA,
    "Make, import, merge, split, check and show cohorts.",
    demo=cohort.demo,
    **{"import": cohort_import.import_},
    merge=cohort.merge,
    split=cohort.split,
    check=cohort.check,
    report=cohort_report.report,
)
_add(DATA, by_hand.prepare)
_add_group(
    "slices",
    DATA,
    "Exchange slice sets with other programs.",
    export=slices.export,
    **{"import": slices.import_},
)
_add_group(
    "train",
    DATA,
    "Train a GAN, an inpainter or a detector.",
    gan=by_hand.train_gan,
    inpainter=by_hand.train_inpainter,
    detector=by_hand.train_detector,
)
_add(DATA, by_hand.synthesize, by_hand.evaluate, realism.realism, score.score)

_add_group(
    "study",
    STUDIES,
    "Write, list and show study files.",
    new=study_files.new,
    list=study_files.list_studies,
    show=study_files.show,
    schema=study_files.schema,
)
_add(STUDIES, study.plan, study.launch, control.status, control.watch, logs.logs)
_add(STUDIES, control.stop, control.retry, control.extend)
_add(STUDIES, track.track, report.report)

_add(MODELS, promote.promote, registry.registry, registry.rollback, registry.compare, detect.detect)

_add_group(
    "store", MACHINE, "List, verify and clean up artifacts.", ls=store.ls, du=store.du, verify=store.verify, gc=store.gc
)
_add_group("config", MACHINE, "Show the settings.", show=config.show)
_add(MACHINE, machine.ui, machine.doctor)


@app.command("run-job", cls=Command, hidden=True)
def run_job(file: Path) -> None:
    """Launch the study of a Ray job; `launch --cluster` makes the file.

    \b
    Example:
      metsweep run-job job.json
    """
    from sweep.cli.job import run_job

    run_job(file)
