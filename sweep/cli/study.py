"""`metsweep plan` and `launch`: show what a study would run, and run it."""

from __future__ import annotations

from typing import Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson, AsWritten, Cluster, StudyOptions, Verify, spread
from trainers.exceptions import ConfigError


@spread
def plan(
    chosen: StudyOptions,
    as_written: AsWritten = False,
    as_json: AsJson = False,
    verify: Verify = False,
) -> None:
    """Show what a study would run, and what it would cost.

    Shows arms and trials, stages already in the store and stages saved by sharing; time on this machine or the cluster
    of RAY_ADDRESS, GPU-hours, CPU-hours, bytes and money, based on earlier runs of the same stage, else on a FLOP
    estimate; and changes since the last launch. Nothing is run, and only a cache of file digests is written. If this
    machine or cluster can never run the study, the plan shows why, and the cost elsewhere.

    \b
    Example:
      metsweep plan quickstart --fidelity laptop
    """
    from sweep.cli.console import output
    from sweep.cli.planning import look_ahead, show_plan

    outlook = look_ahead(chosen.open(launched=False, as_written=as_written, verify=verify))
    if as_json:
        from sweep.cli.plan_json import as_dict

        talk.say_json(as_dict(outlook))
        return
    show_plan(outlook, output())


@spread
def launch(
    chosen: StudyOptions,
    as_written: AsWritten = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop everything when a trial fails.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Go on when this terminal closes.")] = False,
    cluster: Cluster = None,
) -> None:
    """Run a study.

    Runs every stage that is not in the store, on this machine or on the Ray cluster of RAY_ADDRESS. If interrupted, run
    the same command again to resume; finished stages are not repeated. Every run is logged to MLflow
    (MLFLOW_TRACKING_URI, else mlflow.db in the working directory). --fidelity, --cohort and --set are remembered for
    the next launch and for other commands. With --cluster the study runs as a Ray job, and this machine may be switched
    off; store, MLflow and Optuna must be servers or folders that the cluster reaches.

    \b
    Example:
      metsweep launch quickstart --cohort demo-cohort
    """
    if cluster is not None:
        from sweep.cli.job import submit

        if detach:
            raise ConfigError("--detach: left out with --cluster, which goes on without this machine.")
        submit(chosen.open(launched=False, as_written=as_written), cluster, fail_fast=fail_fast)
        return
    if detach:
        from sweep.cli.detached import launch_detached

        flags = {"--as-written": as_written, "--fail-fast": fail_fast, "--quiet": talk.wanted.quiet}
        arguments = ["launch", *chosen.arguments, *(flag for flag, given in flags.items() if given)]
        launch_detached(chosen.open(launched=False, as_written=as_written), arguments)
        return
    from sweep.cli.console import output
    from sweep.cli.launching import say_end
    from sweep.engine import launch as launching
    from sweep.report.report import write_report

    opened = chosen.open(launched=False, as_written=as_written)
    launched = launching.launch(
        opened.study,
        opened.settings,
        output(quiet=True),
        write_report,
        fail_fast=fail_fast,
        accepted=opened.remember_options,
    )
    say_end(launched, chosen.study)
