"""Makes artifacts exist on a Ray cluster: finds them in the store, waits for whoever is making them, or makes them.

Starting a Ray Train job costs seconds (five processes that import Ray and torch), so consecutive stages of a trial that
occupy the same resources share one job: its workers train the GAN, draw from it, train the detector and score it.
"""

from __future__ import annotations

import itertools
import logging
import platform
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sweep.engine.progress import reporter
from sweep.logs import log_to
from sweep.stages import Stage
from sweep.store import Artifact, Cost, Lease, Store
from trainers.distributed import Context, Placement, train_on_ray
from trainers.exceptions import StoreError

logger = logging.getLogger(__name__)


def ensure(stage: Stage, store: Store, board: Any) -> Artifact:
    """The artifact of `stage`; it and what it needs are made where they are not in the store.

    Identical stages wanted by several trials run once: the first to come holds their leases, the others wait without
    holding any resource. When the first dies the next takes its leases over, and continues from the checkpoint.
    """
    for _, group in itertools.groupby(stage.inputs_first(), key=lambda one: one.resources):
        _run_job(list(group), store, board)
    return found(store, stage)


def produce(stage: Stage, store: Store, placement: Placement, board: Any, requested: float) -> None:
    """Run one stage where its inputs are in the store, and publish what rank 0 wrote; each rank returns after that.

    Only stages that train run on every rank, the others on rank 0 alone.
    """
    inputs = {name: found(store, needed).path for name, needed in stage.inputs.items()}
    checkpoints = store.checkpoints(stage.key)
    context = Context(placement, checkpoints, reporter(board, stage))
    if placement.rank != 0:
        if stage.trains:
            with tempfile.TemporaryDirectory(prefix="metsweep-") as scratch:
                stage.run(inputs, Path(scratch), context)
        # The next stage reads it. Should rank 0 fail, Ray ends this process.
        while store.find(stage.name, stage.key) is None:
            time.sleep(0.5)
        return
    board.set_state.remote(stage.key, stage.label, "running")
    with store.writing(stage.name, stage.key) as folder, _peak_memory() as memory:
        started = time.time()
        stage.run(inputs, folder, context)
        memory.look()
        cost = Cost(
            requested=requested,
            started=started,
            finished=time.time(),
            peak_memory_bytes=memory.highest,
            host=platform.node(),
        )
        store.publish(folder, stage.name, stage.key, stage.identity, cost)
    checkpoints.clear()
    board.set_state.remote(stage.key, stage.label, "done")
    logger.info(
        "stage done",
        extra={
            "stage": stage.name,
            "key": stage.key,
            "seconds": round(cost.seconds, 1),
            "startup_seconds": round(cost.started - cost.requested, 1),
            "peak_memory_mb": round(cost.peak_memory_bytes / 1e6),
        },
    )


def found(store: Store, stage: Stage) -> Artifact:
    """The artifact of a stage that must be there.

    Raises:
        StoreError: it is not.
    """
    artifact = store.find(stage.name, stage.key)
    if artifact is None:
        raise StoreError(
            f"Stage {stage.label} has no artifact in the store {store.uri}. "
            "Every node must reach the store by that name."
        )
    return artifact


def _run_job(stages: Sequence[Stage], store: Store, board: Any) -> None:
    """Make the missing artifacts of consecutive stages in one Ray Train job, or in one Ray task if none trains."""

    def missing() -> list[Stage]:
        return [stage for stage in stages if store.find(stage.name, stage.key) is None]

    with ExitStack() as stack:
        leases = {stage.key: store.lease(stage.name, stage.key) for stage in missing()}
        for stage in stages:
            if stage.key in leases:
                board.set_state.remote(stage.key, stage.label, "waiting")
                stack.enter_context(leases[stage.key])
        wanted = missing()
        if not wanted:
            return
        for stage in wanted:
            logger.info("stage missed", extra={"stage": stage.name, "key": stage.key, "reason": _why(stage, store)})
        stack.enter_context(_freeing_published([(stage, leases[stage.key]) for stage in wanted], store))
        job = _Job(tuple(wanted), store, board, time.time())
        try:
            if any(stage.trains for stage in wanted):
                train_on_ray(
                    job, name=wanted[-1].key, storage=str(store.local / "runs" / "train"), resources=wanted[0].resources
                )
            else:
                _run_as_task(job)
        except BaseException:
            for stage in missing():
                board.set_state.remote(stage.key, stage.label, "failed")
            raise


@dataclass(frozen=True)
class _Job:
    """Runs its stages one after the other, on every rank; picklable."""

    stages: tuple[Stage, ...]
    store: Store
    board: Any
    requested: float

    def __call__(self, placement: Placement) -> None:
        log_to(self.store.local / "logs")
        requested = self.requested
        for stage in self.stages:
            if self.store.find(stage.name, stage.key):  # published before a worker was lost and all began again
                continue
            produce(stage, self.store, placement, self.board, requested)
            requested = time.time()


def _run_as_task(job: _Job) -> None:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    resources = job.stages[0].resources

    @ray.remote(
        num_cpus=resources.cpus_per_worker,
        num_gpus=resources.gpus_per_worker,
        max_retries=2,
        # Outside the empty placement group of the trial's driver.
        scheduling_strategy=PlacementGroupSchedulingStrategy(None),  # pyright: ignore[reportArgumentType]
    )
    def task() -> None:
        import torch

        torch.set_num_threads(resources.cpus_per_worker)
        job(Placement.alone())

    ray.get(task.remote())


@contextmanager
def _freeing_published(leases: Sequence[tuple[Stage, Lease]], store: Store) -> Iterator[None]:
    """Frees each stage's lease as soon as its artifact is there, so that who waits for a GAN need not wait for more."""
    stop = threading.Event()

    def watch() -> None:
        held = list(leases)
        while held and not stop.wait(0.5):
            for stage, lease in [pair for pair in held if store.find(pair[0].name, pair[0].key)]:
                lease.release()
                held.remove((stage, lease))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _why(stage: Stage, store: Store) -> str:
    """Why a stage is not in the store: the first part of its identity that differs from the nearest artifact."""
    wanted = _flatten(stage.identity)
    nearest: list[str] | None = None
    for artifact in store.artifacts(stage.name):
        there = _flatten(artifact.manifest.identity)
        differing = [key for key in {**wanted, **there} if wanted.get(key) != there.get(key)]
        if nearest is None or len(differing) < len(nearest):
            nearest = differing
    return "first of its kind" if nearest is None else f"{nearest[0]} differs from the nearest artifact"


def _flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


class _Memory:
    """Highest resident memory seen of this process and its children, bytes."""

    def __init__(self) -> None:
        self.highest = 0
        self._process = psutil.Process()

    def look(self) -> None:
        family = (self._process, *self._process.children(recursive=True))
        self.highest = max(self.highest, sum(_resident(one) for one in family))


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


@contextmanager
def _peak_memory(every_seconds: float = 0.5) -> Iterator[_Memory]:
    memory = _Memory()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(every_seconds):
            memory.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        stop.set()
        thread.join()
