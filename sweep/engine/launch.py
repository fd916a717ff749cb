"""Launches a study: refuses what cannot work, runs what is missing, shows how far it is, and tells what it cost."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from typing import Any

from rich.console import Console
from rich.table import Table

from search_spaces.study import Study
from sweep.engine.cluster import ray_cluster
from sweep.engine.display import Display
from sweep.engine.runner import run_trials, start_board
from sweep.logs import log_to
from sweep.plan import Plan, make_plan
from sweep.settings import Settings
from sweep.store import Store
from sweep.tracking.delivery import Delivery, only_driver
from sweep.tracking.tracker import Tracker

logger = logging.getLogger(__name__)


def launch(study: Study, settings: Settings, console: Console) -> dict[str, str]:
    """Run a study to its end; the same call continues one that was stopped or killed.

    Returns:
        Trial name -> error of the trials that failed; the others are complete, logged and reported.

    Raises:
        MetsweepError: before any work, when the study, its cohort, the store, MLflow or Ray cannot be used.
    """
    plan = make_plan(study)
    store = Store(settings.store)
    missing = plan.missing(store)
    store.check_writable(plan.bytes_of(missing))
    began = time.time()
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        if missing:  # Ray may refuse: nothing is written before
            needs = [stage.resources for stage in missing.values()]
            stack.enter_context(ray_cluster(settings.ray_address, needs))
        stack.enter_context(only_driver(study, store))
        log_to(store.root / "logs")
        tracker = Tracker(settings.tracking_uri, plan, store, _cluster(settings.ray_address) if missing else "local")
        delivery = stack.enter_context(Delivery(tracker, lambda line: console.print(line, soft_wrap=True)))
        console.print(
            f"Study {study.name} at {study.fidelity} fidelity: {len(plan.trials)} trials, {len(plan.stages)} stages, "
            f"{len(plan.stages) - len(missing)} of them in the store already, {plan.shared} saved by sharing.",
            soft_wrap=True,
        )
        if missing:
            board = start_board()
            with _Observer(Display(plan, console), board):
                failed = run_trials(plan, store, board)
        delivery.finish("FAILED" if failed else "FINISHED")
    console.print(_costs(plan, store))
    console.print("Start-up: from the request to the first line of the work.")
    console.print(f"This command took {time.time() - began:.0f} s.")
    return failed


def _cluster(address: str | None) -> str:
    """Where the stages run, and of what size that is now."""
    import ray

    has = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    size = f"{nodes} nodes, {has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs"
    return f"{address or 'local'} ({size})"


class _Observer:
    """Shows progress from a thread, so that it does not slow the trials."""

    def __init__(self, display: Display, board: Any, every_seconds: float = 1.0) -> None:
        self._display = display
        self._board = board
        self._every_seconds = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> None:
        self._display.start()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._display.stop()

    def _repeat(self) -> None:
        while not self._stop.wait(self._every_seconds):
            try:
                self._show()
            except Exception:  # progress is no reason to stop, nor to give up watching
                logger.exception("observer failed")

    def _show(self) -> None:
        import ray

        self._display.show(ray.get(self._board.snapshot.remote()))


def _costs(plan: Plan, store: Store) -> Table:
    """Time and memory of every stage, from the manifests, and the share that starting processes took."""
    table = Table(title="What each stage took when it was made", title_justify="left")
    for column in ("stage", "work", "start-up", "peak memory"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    costs = {
        stage.label: artifact.manifest.cost
        for key, stage in plan.stages.items()
        if (artifact := store.find(stage.name, key))
    }
    for label, cost in costs.items():
        startup = cost.started - cost.requested
        table.add_row(label, f"{cost.seconds:.1f} s", f"{startup:.1f} s", f"{cost.peak_memory_bytes / 2**20:,.0f} MiB")
    work = sum(cost.seconds for cost in costs.values())
    startup = sum(cost.started - cost.requested for cost in costs.values())
    share = startup / (work + startup) if costs else 0.0
    highest = max((cost.peak_memory_bytes for cost in costs.values()), default=0)
    table.add_section()
    table.add_row(
        f"all, {share:.0%} of it start-up", f"{work:.1f} s", f"{startup:.1f} s", f"{highest / 2**20:,.0f} MiB"
    )
    return table
