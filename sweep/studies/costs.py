"""Time and memory that the stages of a study took."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from sweep.console import TextTable
from sweep.plan import Plan
from sweep.store import Cost, Store
from sweep.studies.progress import StageProgress


class LaunchCosts:
    """What the stages cost that one launch has made.

    Args:
        store: holds the stages' manifests.
        began: when the launch began, unix seconds.
    """

    def __init__(self, store: Store, began: float) -> None:
        self._store, self._began = store, began
        self._seen: dict[str, Cost | None] = {}

    def look(self, plan: Plan, stages: Mapping[str, StageProgress]) -> dict[str, Cost]:
        """Stage key -> cost; reads each manifest once.

        Args:
            plan: of the study, with the cells drawn so far.
            stages: stage key -> progress.
        """
        for key in [key for key, stage in stages.items() if stage.state == "done" and key in plan.stages]:
            if key not in self._seen and (artifact := self._store.find(plan.stages[key].name, key)):
                cost = artifact.manifest.cost
                self._seen[key] = cost if cost.started >= self._began else None
        return {key: cost for key, cost in self._seen.items() if cost is not None}


def costs_table(plan: Plan, store: Store) -> TextTable:
    """Time and memory per stage, from the manifests, and the share of starting processes."""
    table = TextTable(title="What the stages took when they were made", title_justify="left", box=None, pad_edge=False)
    for column in ("stage", "made", "work", "each", "start-up", "peak memory"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    costs: dict[str, list[Cost]] = {}
    for key, stage in plan.stages.items():
        if artifact := store.find(stage.name, key):
            costs.setdefault(stage.name, []).append(artifact.manifest.cost)
    for name, some in costs.items():
        table.add_row(name, *_cells(some))
    every = [cost for some in costs.values() for cost in some]
    work, startup = sum(cost.seconds for cost in every), sum(map(_startup, every))
    share = startup / (work + startup) if every else 0.0
    table.add_row(f"all, {share:.0%} of it start-up", *_cells(every))
    return table


def _cells(costs: Sequence[Cost]) -> tuple[str, ...]:
    work = [cost.seconds for cost in costs] or [0.0]
    highest = max((cost.peak_memory_bytes for cost in costs), default=0)
    return (
        str(len(costs)),
        f"{sum(work):.1f} s",
        f"{statistics.median(work):.1f} s",
        f"{sum(map(_startup, costs)):.1f} s",
        f"{highest / 2**20:,.0f} MiB",
    )


def _startup(cost: Cost) -> float:
    return cost.started - cost.requested
