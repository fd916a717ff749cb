"""`metsweep registry`, `rollback` and `compare`: what the registry holds, the way back, two versions side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli.options import RegisteredModel, StoreUri

if TYPE_CHECKING:
    from sweep.registry.versions import Registry


def registry(model: RegisteredModel = "both") -> None:
    """List the registered models.

    Of every version: its aliases, study and trial, sensitivity and false positives (FPs) per slice on the validation
    split at IoU 0.5 of that trial, since when it is champion or else when it was registered, and whether its gates
    were passed over.

    \b
    Example:
      metsweep registry
    """
    from rich import box
    from rich.table import Table

    from sweep.cli.console import output
    from sweep.registry.lineage import FORCED, FPS, SENSITIVITY, STUDY, TRIAL

    opened = _open()
    console = output()
    for name in names_of(model):
        versions = opened.versions(name)
        reigns = {reign.version: reign for reign in opened.history(name)}
        table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for title in ("version", "alias", "trial", "sensitivity", "FPs", "since", "forced"):
            table.add_column(title, justify="right" if title in ("version", "sensitivity", "FPs") else "left")
        for one in versions:
            tags = one.tags
            reign = reigns.get(one.number) if "champion" in one.aliases else None
            since = f"champion {reign.since[:16]}" if reign else f"registered {one.registered.isoformat()[:16]}"
            table.add_row(
                one.number,
                ", ".join(one.aliases),
                f"{tags.get(STUDY, '-')}: {tags.get(TRIAL, '-')}",
                *(f"{float(tags[key]):.3f}" if key in tags else "-" for key in (SENSITIVITY, FPS)),
                since,
                tags.get(FORCED, ""),
            )
        console.print(table if versions else f"{name}: none yet; `metsweep promote STUDY` registers one.")


def rollback(
    model: RegisteredModel = "detector",
    to: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="A former champion; default: the previous champion.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")] = False,
) -> None:
    """Make the previous champion the champion again.

    The history of champions is kept: rolling back once more undoes it. Only versions that have been champion are
    allowed; others go through the gates.

    \b
    Example:
      metsweep rollback --model detector
    """
    from sweep.registry.lineage import TRIAL
    from sweep.registry.rollback import planned, roll_back
    from trainers.exceptions import ConfigError

    names = names_of(model)
    if to is not None and len(names) > 1:
        raise ConfigError("--to names a version of one model; choose it: --model detector or --model generator.")
    opened = _open()
    moves = [planned(opened, name, to) for name in names]
    for move in moves:
        if not dry_run:
            roll_back(opened, move)
        from_to = [f"version {one.number} ({one.tags.get(TRIAL, 'unknown trial')})" for one in (move.now, move.back)]
        typer.echo(f"{move.now.name}@champion: from {from_to[0]} to {from_to[1]}.")
    if dry_run:
        typer.echo("Nothing was changed.")


def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="Alias or version of metsweep-detector.", show_default=False)
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Another; the gain is B's over A.", show_default=False)],
    cohort: Annotated[Path, typer.Option("--cohort", help="Cohort with boxes.", show_default=False)],
    split: Annotated[
        str, typer.Option(help="test, validation, or all: every patient of a cohort that neither was trained on.")
    ] = "test",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for comparison.json and comparison.csv; empty or new.", show_default=False),
    ] = None,
    store: StoreUri = None,
) -> None:
    """Compare two registered detectors on a cohort.

    Both find lesions on the same patients, each on slices prepared as its training slices were. Shows sensitivity and
    false positives (FPs) per slice of each, and the paired gain of the second over the first, also at equal FPs, with
    intervals over patients, at IoU 0.5 and 0.25.

    \b
    Example:
      metsweep compare champion candidate --cohort demo-cohort
    """
    from sweep.cli.console import output, progress
    from sweep.cli.result import result_folder
    from sweep.cli.score import json_text
    from sweep.registry.compare import compare_versions
    from sweep.registry.versions import DETECTOR
    from sweep.settings import Settings
    from sweep.store import Store

    opened = _open()
    versions = opened.find(DETECTOR, first), opened.find(DETECTOR, second)
    with progress("compare") as on_progress:
        made = compare_versions(
            *versions, cohort, split, Store(Settings.from_environment(store).store), on_progress, opened.tracking_uri
        )
    console = output()
    for section in made.sections():
        console.print(section.table())
    for note in made.notes:
        console.print(note, soft_wrap=True)
    if out is not None:
        with result_folder(out) as unfinished:
            (unfinished.result / "comparison.json").write_text(json_text(made.figures()))
            (unfinished.result / "comparison.csv").write_text(made.csv())
        typer.echo(f"Written: {out}")


def names_of(model: str) -> tuple[str, ...]:
    """Names in the registry of what `--model` asks for.

    Raises:
        ConfigError: it asks for something else.
    """
    from sweep.registry.versions import MODELS
    from trainers.exceptions import ConfigError

    if model == "both":
        return tuple(MODELS.values())
    if model not in MODELS:
        raise ConfigError(f"--model is {model!r}; allowed: {', '.join(MODELS)}, both.")
    return (MODELS[model],)


def _open() -> Registry:
    from sweep.redaction import without_password
    from sweep.registry.versions import Registry
    from sweep.settings import Settings
    from trainers.exceptions import TrackingError

    tracking_uri = Settings.from_environment().tracking_uri
    opened = Registry.existing(tracking_uri)
    if opened is None:
        where = without_password(tracking_uri)
        raise TrackingError(f"There is no registry at {where} yet; `metsweep promote STUDY` makes one.")
    return opened
