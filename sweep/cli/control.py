"""`metsweep status`, `watch`, `stop`, `retry` and `extend`, on any machine that reaches the store (or the cluster)."""

from __future__ import annotations

from typing import Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson, Cluster, StudyOptions, spread
from trainers.exceptions import ConfigError

Cells = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CELL...",
        help='Trials ("cpggan 200 seed 0"), cells with all their seeds ("cpggan 200") or drawn cells (t7).',
    ),
]


@spread
def status(
    chosen: StudyOptions,
    as_json: AsJson = False,
    all_trials: Annotated[bool, typer.Option("--all", help="Show every trial.")] = False,
) -> None:
    """Show the state of a study.

    Per trial: done, running, waiting, failed, stopped or pruned; its stage, progress and time left; its figure on the
    validation split by the study's objective. Also the best cell so far. Works from any machine that reaches the store
    (and Optuna's database, if cells are drawn).

    \b
    Example:
      metsweep status quickstart
    """
    from sweep.cli.console import output
    from sweep.cli.status_tables import MOST_ROWS, as_dict, headline, reasons, states_table
    from sweep.studies.watched_study import WatchedStudy

    overview = WatchedStudy(chosen.open()).now()
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
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")] = 2.0,
    cluster: Cluster = None,
) -> None:
    """Follow a running launch, on any machine.

    Updates a table on a terminal, prints lines elsewhere. Ends when the launch ends, or with Ctrl-C, which does not
    stop the launch. With --cluster prints what the study's job there prints; the store is not needed.

    \b
    Example:
      metsweep watch quickstart
    """
    if cluster is not None:
        from sweep.cli.job import watch_job

        watch_job(chosen, cluster)
        return
    from sweep.cli.console import output
    from sweep.cli.watching import follow
    from sweep.studies.watched_study import WatchedStudy

    if not follow(WatchedStudy(chosen.open()), chosen.study, every, output()):
        raise typer.Exit(1)


@spread
def stop(
    chosen: StudyOptions,
    cells: Cells = None,
    cluster: Cluster = None,
) -> None:
    """Stop trials; the other trials continue.

    A running launch stops them at the next checkpoint, and no later launch starts them until `metsweep retry`. Their
    checkpoints are kept. With --cluster and no CELL ends the study's job there as Ctrl-C would end a launch: the same
    launch command resumes.

    \b
    Example:
      metsweep stop quickstart "cpggan 400 seed 0"
    """
    if cluster is not None:
        from sweep.cli.job import stop_job

        if cells:
            raise ConfigError("--cluster ends a whole job; trials are stopped through the store, without --cluster.")
        stop_job(chosen, cluster)
        return
    from sweep.studies.steps import after_stop, stop_trials

    names, alive = stop_trials(chosen.open(), cells or [])
    _say_trials("Stopped" if not alive else "Asked the launch to stop", names)
    talk.say(after_stop(alive))
    talk.note(f'To resume: metsweep retry {chosen.study} "{names[0]}"')


@spread
def retry(
    chosen: StudyOptions,
    cells: Cells = None,
    failed: Annotated[bool, typer.Option("--failed", help="Run every failed trial again.")] = False,
) -> None:
    """Run failed or stopped trials again.

    A running launch starts them at once, otherwise the next launch does. They resume from their last checkpoint.

    \b
    Example:
      metsweep retry quickstart --failed
    """
    from sweep.studies.steps import retry_trials

    names, alive = retry_trials(chosen.open(), cells or [], failed=failed)
    if alive:
        _say_trials("Asked the launch to run again", names)
    else:
        _say_trials("To be run again", names)
        talk.note(f"No launch is running now. Next: metsweep launch {chosen.study}")


@spread
def extend(
    chosen: StudyOptions,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", metavar="N", min=1, max=10_000, help="Extend to seeds 0 to N-1; existing seeds are kept."
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Total number of drawn cells (Optuna trials).")
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            "--arms",
            metavar="VARIANT:COUNT,COUNT",
            help='More arms, with counts as in the study file (paper scale): "cpggan:16000"; may be repeated.',
        ),
    ] = None,
) -> None:
    """Add seeds, cells to draw or arms to a study.

    Finished trials are kept. The store keeps the additions for all later commands; they override the study file, and
    --set overrides them. Nothing is run.

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
