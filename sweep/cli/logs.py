"""`metsweep logs`: what every process of a study logged."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from sweep.cli import talk
from sweep.cli.control import Cells
from sweep.cli.options import Cluster, StudyOptions, spread
from trainers.exceptions import ConfigError

LOOK_EVERY_SECONDS = 2.0
LEVELS = ("info", "warning", "error", "critical")
SHORT = {"trial": None, "stage": None, "key": 8}
"""Field that says what a line is about -> characters shown of it; None for all."""
NOT_IN_REST = {"time", "level", "message", "study", "logger", "host", "pid", "traceback", *SHORT}


@spread
def logs(
    chosen: StudyOptions,
    cells: Cells = None,
    stage: Annotated[str | None, typer.Option("--stage", help="Lines of one kind of stage, e.g. detector.")] = None,
    level: Annotated[Literal["info", "warning", "error"], typer.Option("--level", help="The least level.")] = "info",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more lines until the launch ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each line as the JSON object that it is.")] = False,
    cluster: Cluster = None,
) -> None:
    """Show what the processes of a study logged.

    Lines of all launches and their workers on all nodes, oldest first. With CELL, the lines of these trials and of all
    stages that they need, whichever trial made them. Lines of nodes with a store on S3 come within 30 s. With --cluster
    shows what the study's job there has printed.

    \b
    Example:
      metsweep logs quickstart "cpggan 400" --level warning
    """
    if cluster is not None:
        from sweep.cli.job import show_output

        if cells or stage or as_json or level != "info":
            raise ConfigError("--cluster shows the job's plain output; leave it out to choose among the log lines.")
        show_output(chosen, cluster, follow=follow)
        return
    from sweep.studies.overview import launch_state
    from sweep.studies.selection import select
    from sweep.studies.study_logs import StudyLogs

    opened = chosen.open()
    trials = select(opened.plan(), cells, chosen.study) if cells else []
    names = {trial.name for trial in trials}
    keys = {key for trial in trials for key in trial.stages}

    def wanted(line: dict[str, Any]) -> bool:
        return (
            (not trials or line.get("trial") in names or line.get("key") in keys)
            and (stage is None or line.get("stage") == stage)
            and line.get("level") in LEVELS[LEVELS.index(level) :]
        )

    reader = StudyLogs(opened.store, opened.study.name)
    while True:
        alive = follow and launch_state(opened.record.status()) == "alive"
        for line in filter(wanted, reader.new_lines()):
            talk.say(json.dumps(line) if as_json else _in_words(line))
        if not alive:
            return
        time.sleep(LOOK_EVERY_SECONDS)


def _in_words(line: dict[str, Any]) -> str:
    at = datetime.fromisoformat(line["time"]).astimezone()
    about = " ".join(str(line[name])[: SHORT[name]] for name in SHORT if line.get(name))
    rest = ", ".join(f"{name} {value}" for name, value in line.items() if name not in NOT_IN_REST)
    parts = (f"{at:%Y-%m-%d %H:%M:%S}", line.get("level"), about, line.get("message"), rest)
    traceback = f"\n{line['traceback']}" if "traceback" in line else ""
    return "  ".join(str(part) for part in parts if part) + traceback
