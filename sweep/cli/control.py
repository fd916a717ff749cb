"""`metsweep status`, `watch`, `stop`, `retry` and `extend`, from any machine that reaches the store."""

from __future__ import annotations

from typing import Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson, StudyOptions, spread

Cells = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CELL...",
        help='Trials ("cpggan 200 seed 0"), cells with all their seeds ("cpggan 200") or drawn cells (t7).',
        show_default=False,
    ),
]


@spread
def status(
    chosen: StudyOptions,
    as_json: AsJson = False,
    all_trials: Annotated[bool, typer.Option("--all", help="Every trial, however many there are.")] = False,
) -> None:
    """Show how a study stands.

    Every trial: done, running, waiting, failed, stopped or pruned; which stage, how far, how long still; its figure on
    the validation split by the study's objective, and the best cell so far. Needs the store alone (and Optuna's
    database, if cells are drawn), from any machine.

    \b
    Example:
      metsweep status quickstart
    """
    from sweep.cli.console import output
    from sweep.cli.status_tables import MOST_ROWS, as_dict, headline, reasons, states_table
    from sweep.cli.watching import Look

    overview = Look(chosen.open()).now()
    if as_json:
        talk.say_json(as_dict(overview))
        return
    console = output()
    for line in headline(overview, chosen.study):
        console.say(line)
    console.print(states_table(overview, None if all_trials else MOST_ROWS))
    for line in reasons(overview):
        console.say(line)


@spread
def watch(
    chosen: StudyOptions,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Follow a study while it is launched, wherever that is.

    A table that is drawn anew on a terminal, lines elsewhere. It ends when the launch ends, or with Ctrl-C, which
    leaves the launch alone.

    \b
    Example:
      metsweep watch quickstart
    """
    from sweep.cli.console import output
    from sweep.cli.watching import Look, follow

    if not follow(Look(chosen.open()), chosen.study, every, output()):
        raise typer.Exit(1)


@spread
def stop(
    chosen: StudyOptions,
    cells: Cells = None,
) -> None:
    """Stop trials; the others go on.

    A running launch ends them at the next checkpoint, and no later launch begins them, until `metsweep retry`. What
    they have trained so far is kept.

    \b
    Example:
      metsweep stop quickstart "cpggan 400 seed 0"
    """
    from sweep.studies.outcome import Outcome, StopReason
    from sweep.studies.overview import launch_state
    from sweep.studies.records import Request
    from sweep.studies.selection import select, unfinished

    words = cells or []
    opened = chosen.open()
    plan, record = opened.plan(), opened.record
    named = select(plan, words, chosen.study)
    names = tuple(trial.name for trial in unfinished(named, words, plan, opened.store))
    alive = launch_state(record.status()) == "alive"
    if alive:
        record.ask(Request(action="stop", trials=names))
    record.keep_outcomes(dict.fromkeys(names, Outcome(state="stopped", reason=StopReason.STOPPED_BY_HAND)))
    _say_trials("Stopped" if not alive else "Asked the launch to stop", names)
    talk.say(
        "Training keeps a checkpoint and ends within seconds."
        if alive
        else "No launch is at work now; the next one leaves them alone."
    )
    talk.note(f'To go on with them: metsweep retry {chosen.study} "{names[0]}"')


@spread
def retry(
    chosen: StudyOptions,
    cells: Cells = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every trial that failed.")] = False,
) -> None:
    """Run trials again that failed or were stopped.

    A running launch takes them up at once, else the next one does. They go on from their last checkpoint.

    \b
    Example:
      metsweep retry quickstart --failed
    """
    from sweep.cli.watching import Look
    from sweep.studies.overview import launch_state
    from sweep.studies.records import Request
    from sweep.studies.selection import ended, select

    opened = chosen.open()
    look, record = Look(opened), opened.record
    overview = look.now()
    named = None if failed and not cells else select(look.plan, cells or [], chosen.study)
    names = tuple(ended(overview, named, chosen.study, failed=failed))
    record.forget_outcomes(names)
    if launch_state(record.status()) == "alive":
        record.ask(Request(action="retry", trials=names))
        _say_trials("Asked the launch to run again", names)
    else:
        _say_trials("To be run again", names)
        talk.note(f"No launch is at work now. Next: metsweep launch {chosen.study}")


@spread
def extend(
    chosen: StudyOptions,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, max=10_000, help="Seeds in all: 0, 1, ... and those there.", show_default=False),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Cells in all that a search draws.", show_default=False)
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            "--arms",
            metavar="VARIANT:COUNT,COUNT",
            help='More arms, with counts as the study writes them: "cpggan:16000"; may be repeated.',
            show_default=False,
        ),
    ] = None,
) -> None:
    """Add seeds, cells to draw or arms to a study; what is done stays done.

    Kept in the store, over the study file and under --set: every command sees it from then on. Nothing is run.

    \b
    Example:
      metsweep extend quickstart --seeds 3
    """
    from sweep.cli.extending import add

    for line in add(chosen.open(), seeds=seeds, trials=trials, arms=arms or []):
        talk.say(line)


def _say_trials(what: str, names: tuple[str, ...], most: int = 10) -> None:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    talk.say(f"{what}: {', '.join(names[:most])}{more}.")
