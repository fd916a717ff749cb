"""`metsweep promote`: a study's best models to candidates, and through the gates to champions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

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
        float, typer.Option(min=0.0, max=1.0, help="Gain in sensitivity that the paired interval must exceed.")
    ] = 0.0,
    fps_cap: Annotated[
        float | None, typer.Option(min=0.0, help="Most FPs per validation slice; default: the study's, else 12.")
    ] = None,
    alias: Annotated[
        Literal["champion", "candidate"],
        typer.Option(help="candidate: register and judge, but keep the current champion."),
    ] = "champion",
    model: RegisteredModel = "both",
    trial: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Promote this trial instead of the best on validation; needs --force if it is not the best.",
        ),
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Override failing and undetermined gates; the version records the reason."),
    ] = None,
) -> None:
    """Promote a study's best models through their gates.

    The best trial is chosen by the study's objectives and constraints on the validation split, by default the highest
    sensitivity at IoU 0.5; the test split is not used. Cells that were pruned, failed or stopped are left out; while a
    cell waits or runs, nothing is promoted. The trial's detector becomes the candidate of metsweep-detector, its GAN
    that of metsweep-generator. Each candidate becomes the champion if all its gates pass.

    \b
    Gates:
      picked by validation: no trial has better figures on the validation split.
      above chance: sensitivity exceeds that on shuffled slices.
      paired gain: sensitivity exceeds the real-only arm's by more than --margin.
      FPs per slice: false positives (FPs) per slice are at most --fps-cap.
      memorisation: synthetic slices give away no training patient.
      box fidelity: a detector of real slices finds the requested tumours.
      loads and predicts: the model works in a fresh process on the CPU.

    The first four gates judge a detector, on the validation split; the next two judge a generator. Sensitivity and gain
    must exceed their limit with the lower end of a 95% interval; that of the gain is over seeds and patients, and
    adjusted for the number of cells. An undetermined gate blocks like a failing gate: the exit code is 1 and the
    champion stays. --force overrides all gates but "loads and predicts". Promoting the champion again changes nothing.

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
    from sweep.report.report import write_report
    from sweep.studies.optuna_study import given_up
    from sweep.tracking.tracker import Tracker

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
    for judgement in judged:
        _show(judgement, dry_run, alias, console)
    if alias == "champion" and not all(judgement.passed or judgement.champion for judgement in judged):
        raise typer.Exit(1)
    if not dry_run:
        talk.note("Next: metsweep registry, and metsweep detect VOLUME.nii.gz --out found")


def _show(judgement: Judgement, dry_run: bool, alias: str, console: TextConsole) -> None:
    from sweep.console import RULED, TextTable

    *whole, why = ("gate", "figure", "limit", "verdict", "why")
    title = f"{judgement.name}: {judgement.ranked.trial.name}"
    table = TextTable.of(title, (*whole, why), left=("gate", "verdict", why), whole=whole, **RULED)
    for gate in judgement.gates:
        numbers = ("-" if number is None else f"{number:.3g}" for number in (gate.figure, gate.limit))
        table.add_row(gate.name, *numbers, gate.verdict, gate.why)
    console.say(f"Validation of {judgement.ranked.trial.name} at IoU 0.5: {judgement.ranked.text()}.")
    console.print(table)
    console.say(_outcome(judgement, dry_run, alias))


def _outcome(judgement: Judgement, dry_run: bool, alias: str) -> str:
    """What became of a model, and why."""
    blocking = [gate.name for gate in judgement.gates if not gate.passed]
    number = f"version {judgement.version}" if judgement.version else "not registered yet"
    blocked = f" Does not pass: {', '.join(blocking)}." if blocking else ""
    if judgement.forced and judgement.passed:
        blocked = f" Gates overridden: {', '.join(blocking)}. Reason: {judgement.forced}"
    if judgement.champion and not judgement.newly:
        judged = f", as it was judged {judgement.at or 'before records had a date'}" if judgement.at is not None else ""
        return f"{judgement.name}: {number} is already the champion{judged}. Nothing was changed.{blocked}"
    if dry_run:
        would = "would become" if judgement.passed else "would not become"
        return f"{judgement.name}: {number}, {would} the champion. Nothing was changed.{blocked}"
    if judgement.newly:
        return f"{judgement.name}: {number} is now the champion.{blocked}"
    if judgement.passed and alias == "candidate":
        return f"{judgement.name}: {number} is the candidate; it passes the gates of a champion.{blocked}"
    return f"{judgement.name}: {number} stays candidate.{blocked}"
