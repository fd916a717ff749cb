"""`metsweep registry`, `rollback` and `compare`: list versions, return to a former champion, compare two versions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson, Model, RegisteredModel, StoreUri
from sweep.redaction import without_secrets
from sweep.settings import Settings
from trainers.evaluation.measures import SENSITIVITY, TABLE1, Measure
from trainers.exceptions import ConfigError, TrackingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweep.console import TextTable
    from sweep.registry.versions import Registry, Version


def registry(model: RegisteredModel = "both", as_json: AsJson = False) -> None:
    """List the registered models.

    Per version: its aliases, study and trial, sensitivity (with its 95% interval over patients) and false
    positives (FPs) per slice of that trial's detector on the validation split at IoU 0.5, when it became
    champion or else was registered, and why gates were overridden.

    \b
    Example:
      metsweep registry
    """
    from sweep.cli.console import output

    opened = _open()
    held = {
        name: (opened.versions(name), {reign.version: reign.since for reign in opened.history(name)})
        for name in names_of(model)
    }
    if as_json:
        models = {name: [_as_dict(version, since) for version in versions] for name, (versions, since) in held.items()}
        talk.say_json({"registry": without_secrets(opened.tracking_uri), "models": models})
        return
    console = output()
    for name, (versions, since) in held.items():
        if versions:
            console.print(_table(name, versions, since))
        else:
            console.say(f"{name}: none yet; `metsweep promote STUDY` registers a version.")


def _table(name: str, versions: Sequence[Version], since: Mapping[str, str]) -> TextTable:
    """Versions; `since` maps the number of a former or present champion to when its last reign began."""
    from sweep.console import RULED, TextTable
    from sweep.tracking.tags import STUDY, TRIAL

    figures = "Figures of the trial's detector on the validation split at IoU 0.5; times in UTC."
    left = ("alias", "trial", "since", "gates overridden because")
    columns = ("version", *left[:2], *(measure.short for measure in TABLE1), *left[2:])
    table = TextTable.of(name, columns, left=left, caption=figures, **RULED)
    for version in versions:
        tags = version.tags
        champion = since.get(version.number) if "champion" in version.aliases else None
        table.add_row(
            version.number,
            ", ".join(version.aliases),
            f"{tags.get(STUDY, '-')}: {tags.get(TRIAL, '-')}",
            *(_measured(version, measure) for measure in TABLE1),
            ("registered " if champion is None else "champion ")
            + (champion or version.registered.isoformat())[:16].replace("T", " "),
            _forced(version) or "",
        )
    return table


def _as_dict(version: Version, since: Mapping[str, str]) -> dict[str, Any]:
    from sweep.registry.quality import quality_in_tags
    from sweep.tracking.tags import STAGE_KEY, STUDY, TRIAL

    quality = quality_in_tags(version.tags)
    unrounded = asdict(quality) if quality else {}
    measured = {
        f"validation_{measure.name}": unrounded.get(measure.name, _figure(version, measure)) for measure in TABLE1
    }
    return {
        "version": version.number,
        "aliases": list(version.aliases),
        "study": version.tags.get(STUDY),
        "trial": version.tags.get(TRIAL),
        "stage_key": version.tags.get(STAGE_KEY),
        "validation_sensitivity_interval": quality and [quality.low, quality.high],
        **measured,
        "registered": version.registered.isoformat(),
        "champion_since": since.get(version.number) if "champion" in version.aliases else None,
        "forced": _forced(version),
    }


def _figure(version: Version, measure: Measure) -> float | None:
    """A figure in the tags of a version, or None; anyone may write tags."""
    from sweep.tracking.tags import validation_tag

    try:
        return float(version.tags[validation_tag(measure.name)])
    except (KeyError, ValueError):
        return None


def _forced(version: Version) -> str | None:
    """Why gates were overridden at the last judgement."""
    from sweep.registry.records import records

    judged = records(version.tags)
    return judged[-1].forced if judged else None


def _measured(version: Version, measure: Measure) -> str:
    """A figure of Table 1; sensitivity with its interval, where the version has one."""
    from sweep.registry.quality import quality_in_tags
    from trainers.evaluation.outcome import with_interval

    quality, figure = quality_in_tags(version.tags), _figure(version, measure)
    if measure is SENSITIVITY and quality is not None and quality.low is not None and quality.high is not None:
        return with_interval(quality.sensitivity, (quality.low, quality.high), measure.digits)
    return "-" if figure is None else f"{figure:.{measure.digits}f}"


def rollback(
    model: RegisteredModel = "detector",
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="A former champion; default: the previous champion.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the change without making it.")] = False,
) -> None:
    """Make the previous champion the champion again.

    The history of champions is kept: a second rollback undoes the first. Only former champions are allowed; other
    versions go through the gates.

    \b
    Example:
      metsweep rollback --model detector
    """
    from sweep.registry.rollback import planned
    from sweep.tracking.tags import TRIAL

    names = names_of(model)
    if to is not None and len(names) > 1:
        raise ConfigError("--to names a version of one model; choose it: --model detector or --model generator.")
    opened = _open()
    moves = [planned(opened, name, to) for name in names]
    for move in moves:
        if not dry_run:
            opened.crown(move.back, f"rolled back from {move.now.number}")
        now, back = (f"version {at.number} ({at.tags.get(TRIAL, 'unknown trial')})" for at in (move.now, move.back))
        talk.say(f"{move.now.name}@champion: from {now} to {back}.")
    if dry_run:
        talk.say("Nothing was changed.")


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="Alias or version of metsweep-detector.")],
    second: Annotated[str, typer.Argument(metavar="B", help="A second alias or version; the gain is B over A.")],
    cohort: Annotated[Path, typer.Option("--cohort", help="Cohort with boxes.")],
    split: Annotated[
        str,
        typer.Option(help="test, validation, or all: every patient of a cohort that neither detector was trained on."),
    ] = "test",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for comparison.json and comparison.csv; empty or new.")
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
    from sweep.registry.compare import compare_versions
    from sweep.registry.versions import DETECTOR
    from sweep.store import Store

    opened = _open()
    versions = opened.find(DETECTOR, first), opened.find(DETECTOR, second)
    slices = Store(Settings.from_environment(store).store)
    with progress("compare") as on_progress:
        made = compare_versions(*versions, cohort, split, slices, on_progress, opened.tracking_uri)
    console = output()
    for section in made.sections():
        console.print(section.table())
    for note in made.notes:
        console.say(note)
    if out is not None:
        with result_folder(out) as unfinished:
            (unfinished.result / "comparison.json").write_text(talk.json_text(made.figures()))
            (unfinished.result / "comparison.csv").write_text(made.csv())
        talk.note(f"Written: {out}")


def names_of(model: Model) -> tuple[str, ...]:
    """Registered names of the models that `--model` selects."""
    from sweep.registry.versions import MODELS

    return tuple(MODELS.values()) if model == "both" else (MODELS[model],)


def _open() -> Registry:
    from sweep.registry.versions import Registry

    tracking_uri = Settings.from_environment().tracking_uri
    opened = Registry.existing(tracking_uri)
    if opened is None:
        where = without_secrets(tracking_uri)
        raise TrackingError(f"The registry at {where} does not exist yet; `metsweep promote STUDY` makes it.")
    return opened
