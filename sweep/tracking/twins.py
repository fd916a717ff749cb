"""Finds the runs of an experiment again, and of several that were made for one thing the one that counts.

A second run comes from a request that was carried out though its answer was lost, or from a process that was suspended
while it delivered: another took over, and both wrote.
"""

from __future__ import annotations

from sweep.tracking.run_writer import RunWriter, TrackedRun
from sweep.tracking.tags import KIND, STAGE_KEY

PARENT = "parent"
"""Stands for the parent where others have their stage's key."""

Twins = list[tuple[str, TrackedRun]]
"""Stage key, or PARENT, and a run that stands beside the one that counts."""


def look_up(writer: RunWriter) -> tuple[dict[str, TrackedRun], Twins]:
    """The run of each stage key and of PARENT, and their twins; runs of others are left out."""
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
    """The one that a registered model came from, that is finished, that holds most, that is oldest, in this order."""
    oldest_first = runs[::-1]
    return max(oldest_first, key=lambda run: (writer.is_registered(run), run.status == "FINISHED", len(run.written)))
