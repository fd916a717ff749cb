"""Finds the runs of an experiment, and of several runs of one thing the run that counts.

A twin comes from a request that was carried out though its answer was lost, or from a process that was suspended while
it delivered: another process took over, and both wrote.
"""

from __future__ import annotations

from sweep.tracking.run_writer import RunWriter, TrackedRun
from sweep.tracking.tags import KIND, STAGE_KEY

PARENT = "parent"
"""Stands for the parent run, which has no stage key."""

Twins = list[tuple[str, TrackedRun]]
"""Stage key, or PARENT, and a run beside the run that counts."""


def look_up(writer: RunWriter) -> tuple[dict[str, TrackedRun], Twins]:
    """The run of each stage key and of PARENT, and their twins; other runs of the experiment are ignored."""
    runs_by_key: dict[str, list[TrackedRun]] = {}
    for run in writer.existing():
        key = PARENT if run.tags.get(KIND) == "sweep" else run.tags.get(STAGE_KEY)
        if key is not None:
            runs_by_key.setdefault(key, []).append(run)
    counting: dict[str, TrackedRun] = {}
    twins: Twins = []
    for key, runs in runs_by_key.items():
        counting[key] = runs[0] if len(runs) == 1 else _best(runs, writer)
        twins += [(key, run) for run in runs if run is not counting[key]]
    return counting, twins


def _best(runs: list[TrackedRun], writer: RunWriter) -> TrackedRun:
    """The run with a registered model, else a finished one, else that with the most parts, else the oldest."""
    oldest_first = runs[::-1]
    return max(oldest_first, key=lambda run: (writer.is_registered(run), run.status == "FINISHED", len(run.written)))
