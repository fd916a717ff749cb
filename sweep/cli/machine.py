"""`metsweep ui` and `metsweep doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson, StoreUri, StudyCohort
from sweep.redaction import without_secrets
from sweep.settings import Settings
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from sweep.console import TextTable
    from sweep.doctor import Finding

HOST = "127.0.0.1"


def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000) -> None:
    """Open the MLflow UI.

    The UI shows the runs of MLFLOW_TRACKING_URI, else of mlflow.db in the working directory. Ctrl-C stops it; results
    are not touched. When MLFLOW_TRACKING_URI names a server, its address is shown instead.

    \b
    Example:
      metsweep ui --port 5000
    """
    import os
    import sys

    from sweep.tracking.mlflow_client import ENVIRONMENT

    uri = Settings.from_environment().tracking_uri
    if uri.startswith(("http://", "https://")):
        talk.say(f"The MLflow UI is served by the tracking server: {without_secrets(uri)}")
        return
    _refuse_used(port)
    talk.say(f"MLflow UI: http://{HOST}:{port} (ready in a few seconds; Ctrl-C stops the UI)")
    sys.stdout.flush()
    from sweep.tracking.study_content import study_pages

    for name, page in study_pages(uri).items():
        talk.say(f"The trials of {name}, best first: http://{HOST}:{port}{page}")
    sys.stdout.flush()
    os.environ |= ENVIRONMENT | {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, server)


def doctor(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Also look for this study's cohort.", show_default=False)
    ] = None,
    cohort: StudyCohort = None,
    store: StoreUri = None,
    as_json: AsJson = False,
) -> None:
    """Show what is missing on this machine and on the nodes of a cluster, and how to fix it.

    Checks Python and its packages, cores, memory, GPUs and the data that the demo takes from packages; whether the
    store can be read and written as stages do, its disk, MLflow and Optuna's database, and every file, address and
    command that the settings name. Where RAY_ADDRESS is set, a task
    on each node checks the same store, versions, clock, GPUs and driver, disk and the cohort. Exit code 0 if nothing is
    missing, else 1.

    \b
    Example:
      metsweep doctor table1 --cohort /shared/cohort
    """
    from dataclasses import asdict

    from sweep.doctor import MISSING, examine

    settings = Settings.from_environment(store)
    findings = examine(settings, cohort if study is None else _cohort_of(study, cohort))
    missing = [finding for finding in findings if finding.state == MISSING]
    if as_json:
        talk.say_json([asdict(finding) for finding in findings])
    else:
        from sweep.cli.console import output

        console = output()
        here = [finding for finding in findings if not finding.where]
        console.print(_table("This machine", here))
        if nodes := [finding for finding in findings if finding.where]:
            console.print(_table("Nodes of the cluster", nodes))
        ready = "The demo can run." if settings.ray_address is None else "The cluster is ready."
        console.say(f"{len(missing)} missing: see how to fix it." if missing else ready)
    raise typer.Exit(1 if missing else 0)


def _cohort_of(study: str, cohort: Path | None) -> Path:
    from search_spaces.study import load_study

    return Path(load_study(study, cohort=None if cohort is None else str(cohort)).cohort)


def _table(title: str, findings: Sequence[Finding]) -> TextTable:
    from sweep.console import TextTable

    columns = {"what": "what", "where": "where", "state": "state", "found": "found", "how to fix it": "fix"}
    if not findings[0].where:
        del columns["where"]
    rows = ([getattr(finding, name) for name in columns.values()] for finding in findings)
    return TextTable.of(title, columns, rows, left=columns)


def _refuse_used(port: int) -> None:
    import socket

    with socket.socket() as probe:
        # As servers do: a port whose last connections are closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise TrackingError(
                f"Port {port} on {HOST} cannot be used: {error.strerror}. Stop the process that uses the "
                f"port, or name a free port: metsweep ui --port {min(port + 1, 65535)}."
            ) from None
