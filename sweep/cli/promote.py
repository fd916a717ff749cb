"""`metsweep promote`: a study's best models to candidates, and through the gates to champions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import RegisteredModel, StudyOptions, spread

if TYPE_CHECKING:
    from sweep.console import TextConsole
    from sweep.registry.promotion import Judgement


@spread
def promote(
    chosen: StudyOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the gates; change nothing.")] = False,
    margin: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="What the paired gain in sensitivity must exceed.")
    ] = 0.0,
    fps_cap: Annotated[
        float | None,
        typer.Option(min=0.0, help="Most FPs per validation slice; default: the study's, else 12.", show_default=False),
    ] = None,
    alias: Annotated[
        str, typer.Option(help="champion, or candidate: register and judge, leave the champion as it is.")
    ] = "champion",
    model: RegisteredModel = "both",
    trial: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A trial by name; refused unless it is the best on validation.", show_default=False
        ),
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Pass over gates that do not pass; the version keeps the reason.", show_default=False
        ),
    ] = None,
) -> None:
    """Make the best trial's models champions, if gates allow it.

    The best trial is that of the study's objectives and constraints on the validation split, by default the highest
    sensitivity at IoU 0.5; the test split has no say. Cells that a search pruned, that failed or were stopped are left
    out; while any waits or runs, nothing is promoted. Its detector becomes the version of metsweep-detector with the
    alias candidate, the GAN behind it that of metsweep-generator. Each becomes the champion if all its gates pass.
    Detector: the interval of its own validation sensitivity lies above chance; that of its cell's gain over the
    real-only arm (seeds and patients at random, adjusted for the best of all cells) lies above the margin; false
    positives (FPs) stay under the cap. Generator: its slices do not give away patients; tumours are where they were
    asked for. Both: picked by validation; loads and predicts in a fresh process on the CPU.

    A gate that cannot tell blocks like one that fails: the exit code is 1 and the champion stays. --force passes over
    all gates but the last. Promoting the champion again changes nothing.

    \b
    Example:
      metsweep promote quickstart --dry-run
      metsweep promote quickstart --force "demo: one seed"
    """
    from sweep.cli.console import output
    from sweep.cli.registry import names_of
    from sweep.engine.study_lease import only_process
    from sweep.registry import promotion
    from sweep.registry.judging import Limits
    from sweep.registry.versions import CANDIDATE, CHAMPION
    from sweep.report.report import write_report
    from sweep.studies.optuna_study import given_up
    from sweep.tracking.tracker import Tracker
    from trainers.exceptions import ConfigError

    if alias not in (CANDIDATE, CHAMPION):
        raise ConfigError(f"--alias is {alias!r}; allowed: {CANDIDATE}, {CHAMPION}.")
    request = promotion.Request(
        models=names_of(model),
        limits=Limits(margin, fps_cap),
        alias=alias,
        trial=trial,
        force=force,
        study=chosen.study,
    )
    opened = chosen.open()
    plan, store, tracking_uri = opened.plan(), opened.store, opened.settings.tracking_uri
    ended = given_up(plan.study, opened.settings.optuna_storage)
    if dry_run:
        judged = promotion.judge(plan, store, tracking_uri, request, ended)
    else:
        with only_process(plan.study.name, store, talk.say) as lease:
            tracker = Tracker(tracking_uri, plan, store, lease=lease, report=write_report)
            judged = promotion.promote(plan, store, tracker, request, ended)
    console = output()
    for one in judged:
        _show(one, dry_run, alias, console)
    if alias == CHAMPION and not all(one.passed or one.champion for one in judged):
        raise typer.Exit(1)
    if not dry_run:
        talk.note("Next: metsweep registry, and metsweep detect VOLUME.nii.gz --out found")


def _show(one: Judgement, dry_run: bool, alias: str, console: TextConsole) -> None:
    from rich import box

    from sweep.console import TextTable

    table = TextTable(title=f"{one.name}: {one.ranked.trial.name}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.title_justify = "left"
    for title in ("gate", "figure", "limit", "verdict"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("figure", "limit") else "left")
    table.add_column("why")
    for gate in one.gates:
        numbers = ("-" if number is None else f"{number:.3g}" for number in (gate.figure, gate.limit))
        table.add_row(gate.name, *numbers, gate.verdict, gate.why)
    console.say(f"Validation of {one.ranked.trial.name} at IoU 0.5: {one.ranked.text()}.")
    console.print(table)
    console.say(_outcome(one, dry_run, alias))


def _outcome(one: Judgement, dry_run: bool, alias: str) -> str:
    """What became of a model, and what may be done now."""
    blocking = [gate.name for gate in one.gates if not gate.passed]
    number = f"version {one.version}" if one.version else "not registered yet"
    forced = f" Forced past: {', '.join(blocking)}. Reason: {one.forced}" if one.forced and one.passed else ""
    if one.champion and not one.newly:
        judged = f", as it was judged {one.at or 'before records had a date'}" if one.at is not None else ""
        told = f"{one.name}: {number} is the champion already{judged}. Nothing was changed."
        return told + (forced or _held_up(blocking))
    if dry_run:
        would = "would become" if one.passed else "would not become"
        return f"{one.name}: {number}, {would} the champion. Nothing was changed." + (forced or _held_up(blocking))
    if one.newly:
        return f"{one.name}: {number} is now the champion.{forced}"
    if one.passed and alias == "candidate":
        return f"{one.name}: {number} is the candidate; its gates let it become champion.{forced}"
    return f"{one.name}: {number} stays candidate.{_held_up(blocking)}"


def _held_up(blocking: list[str]) -> str:
    return f" Does not pass: {', '.join(blocking)}." if blocking else ""
