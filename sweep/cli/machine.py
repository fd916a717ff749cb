"""`metsweep ui` and `metsweep doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson, StoreUri
from sweep.redaction import without_secrets
from sweep.settings import Settings
from trainers.exceptions import TrackingError

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


def doctor(store: StoreUri = None, as_json: AsJson = False) -> None:
    """Show what is missing on this machine, and how to fix it.

    Checks Python and its packages, cores, memory, the store's disk, GPUs, Ray (the cluster of RAY_ADDRESS if that is
    set), MLflow, and the data and weights that the demo takes from packages. Exit code 0 if the demo can run, else 1.

    \b
    Example:
      metsweep doctor
    """
    from dataclasses import asdict

    from sweep.doctor import MISSING, examine

    findings = examine(Settings.from_environment(store))
    missing = [finding for finding in findings if finding.state == MISSING]
    if as_json:
        talk.say_json([asdict(finding) for finding in findings])
    else:
        from sweep.cli.console import output
        from sweep.console import TextTable

        columns = ("what", "state", "found", "how to fix it")
        rows = ((finding.what, finding.state, finding.found, finding.fix) for finding in findings)
        console = output()
        console.print(TextTable.of("This machine", columns, rows, left=columns))
        console.say(f"{len(missing)} missing: the demo cannot run." if missing else "The demo can run.")
    raise typer.Exit(1 if missing else 0)


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
