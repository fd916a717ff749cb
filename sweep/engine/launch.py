"""Launches a study: refuses what cannot work, runs what is missing, shows how far it is, and tells what it cost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
from sweep.tracking.tracker import Tracker
from trainers.exceptions import StoreError

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
    tracker = Tracker(settings.tracking_uri, plan, store)
    began = time.time()
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        if missing:  # Ray may refuse: nothing is written before
            needs = [stage.resources for stage in missing.values()]
            stack.enter_context(ray_cluster(settings.ray_address, needs))
        stack.enter_context(_only_driver(study, store))
        tracker.open()
        log_to(store.local / "logs")
        console.print(
            f"Study {study.name} at {study.fidelity} fidelity: {len(plan.trials)} trials, {len(plan.stages)} stages, "
            f"{len(plan.stages) - len(missing)} of them in the store already, {plan.shared} saved by sharing.",
            soft_wrap=True,
        )
        if missing:
            board = start_board()
            with _Observer(Display(plan, console), tracker, board):
                failed = run_trials(plan, store, board)
        tracker.record()
        tracker.close("FAILED" if failed else "FINISHED")
    console.print(_costs(plan, store))
    console.print("Start-up: from the request to the first line of the work.")
    console.print(f"This command took {time.time() - began:.0f} s.")
    return failed


@contextmanager
def _only_driver(study: Study, store: Store) -> Iterator[None]:
    """Two drivers of one study would log every run twice."""
    lease = store.lease("study", study.name)
    if not lease.acquire(give_up=lambda: True):
        raise StoreError(
            f"Another command is launching study {study.name} with the store {store.uri}. Wait for it, or stop it."
        )
    try:
        yield
    finally:
        lease.release()


class _Observer:
    """Shows progress and logs finished stages to MLflow in a thread, so that neither slows the trials.

    MLflow holds no truth: what it refuses while the trials run is logged when they have ended, or by the next launch.
    """

    def __init__(self, display: Display, tracker: Tracker, board: Any, every_seconds: float = 1.0) -> None:
        self._display = display
        self._tracker = tracker
        self._board = board
        self._every_seconds = every_seconds
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(action,), daemon=True) for action in (self._show, self._log)
        ]

    def __enter__(self) -> None:
        self._display.start()
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._display.stop()

    def _repeat(self, action: Callable[[], None]) -> None:
        while not self._stop.wait(self._every_seconds):
            try:
                action()
            except Exception:  # progress and tracking are no reason to stop, nor to give up watching
                logger.exception("observer failed")

    def _show(self) -> None:
        import ray

        self._display.show(ray.get(self._board.snapshot.remote()))

    def _log(self) -> None:
        self._tracker.record()


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
