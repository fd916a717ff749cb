"""Makes artifacts exist on a Ray cluster: finds them in the store, waits for whoever is making them, or makes them.

Several workers are a Ray Train job, one worker is a Ray task: the five processes of a job import Ray and torch for half
a CPU minute, and a task runs in an existing process. Consecutive stages of a trial that occupy the same resources share
one job or task: its workers train the GAN, draw from it, train the detector and score it.
"""

from __future__ import annotations

import functools
import itertools
import logging
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from sweep.engine.board import AskedToStop, BoardHandle
from sweep.engine.cluster import free_what_the_dead_held
from sweep.engine.fencing import Fenced
from sweep.engine.metrics import count_takeover, timed
from sweep.engine.misses import why_missed
from sweep.engine.taken_away import TakenAway
from sweep.logs import about
from sweep.machine_use import peak_memory, system_samples
from sweep.repeating import repeating
from sweep.stages import Stage
from sweep.store import Artifact, Cost, DamagedArtifact, Fence, Lease, Machine, Store
from sweep.studies.study_logs import StudyLogs
from trainers.distributed import FAILURES, Context, Placement, left_its_node, train_on_ray
from trainers.exceptions import LostLeaseError, MetsweepError, StopRequestedError, StoreError, TrainingError

logger = logging.getLogger(__name__)


class UnseenArtifactError(MetsweepError):
    """A worker made an artifact that its trial cannot see; making it again would not help."""


FREED_AFTER_SECONDS = 0.5
"""How often the store is checked for a published artifact, whose lease can be freed."""
ATTEMPTS = 3
"""How often a trial starts over because an artifact that it reads is damaged."""


def ensure(stage: Stage, store: Store, board: BoardHandle, trial: str) -> Artifact:
    """The artifact of `stage`, made with all its inputs where the store lacks them.

    Identical stages wanted by several trials run once: the first trial to come holds their leases, the others wait
    without holding any resource. When the first dies, its leases lapse and the next continues from the checkpoint; a
    trial that was only suspended finds its leases lost and becomes a waiter. A damaged artifact is set aside and made
    again.

    Raises:
        StopRequestedError: the board asked `trial` to stop; what was begun has a checkpoint.
        MetsweepError: a stage failed.
    """
    asked_to_stop = AskedToStop(board, trial)
    attempt = 1
    while True:
        try:
            for _, group in itertools.groupby(stage.inputs_first(), key=lambda needed: needed.resources):
                _run_job(list(group), store, board, trial, asked_to_stop)
            return required(store, stage)
        except LostLeaseError:
            logger.warning("lease lost, waiting for who took it over", extra={"stage": stage.name, "key": stage.key})
        except StoreError:
            if attempt == ATTEMPTS or all(store.find(needed.name, needed.key) for needed in stage.inputs_first()[:-1]):
                raise
            attempt += 1


def produce(
    stage: Stage, store: Store, placement: Placement, board: BoardHandle, trial: str, fence: Fence, requested: float
) -> None:
    """Run one stage where its inputs are in the store, and publish what rank 0 wrote; each rank returns after that.

    Only stages that train run on every rank, the others on rank 0 alone.

    Raises:
        DamagedArtifact: an input is damaged; it was set aside.
        StopRequestedError: the board asked `trial` to stop, or the lease of `fence` is lost.
    """
    inputs = {name: _whole(store, needed, board) for name, needed in stage.inputs.items()}
    fenced = Fenced(store.checkpoints(stage.key), fence, AskedToStop(board, trial), stage.name)
    taken_away = TakenAway()
    advance = functools.partial(board.advance, stage.key)
    context = Context(placement, fenced, advance, fenced.asked_to_stop, taken_away)
    if placement.rank != 0:
        if stage.trains:
            with tempfile.TemporaryDirectory(prefix="metsweep-") as scratch, taken_away.watched():
                stage.run(inputs, Path(scratch), context)
        # The next stage reads this artifact. Should rank 0 fail, Ray ends this process.
        while store.find(stage.name, stage.key) is None:
            time.sleep(0.5)
        return
    board.set_state(stage.key, stage.label, "running")
    with store.writing(stage.name, stage.key) as folder, peak_memory() as memory:
        started = time.time()
        with fenced.watched(), taken_away.watched(), system_samples(folder) if stage.trains else nullcontext():
            stage.run(inputs, folder, context)
        memory.measure()
        fenced.refuse_if_lost()
        workers = context.world_size if stage.trains else 1
        cost = Cost(
            requested=requested,
            started=started,
            finished=time.time(),
            peak_memory_bytes=memory.highest,
            host=platform.node(),
            cpus=workers * stage.resources.cpus_per_worker,
            gpus=workers * stage.resources.gpus_per_worker,
        )
        with timed("publish", stage.name):
            store.publish(folder, stage.name, stage.key, stage.identity, cost, Machine.this(cost.gpus))
    fenced.clear()
    board.set_state(stage.key, stage.label, "done")
    logger.info(
        "stage done",
        extra={
            "seconds": round(cost.seconds, 1),
            "startup_seconds": round(cost.started - cost.requested, 1),
            "peak_memory_mb": round(cost.peak_memory_bytes / 1e6),
        },
    )


def required(store: Store, stage: Stage) -> Artifact:
    """The artifact of a stage that must be in the store.

    Raises:
        StoreError: the store does not show it.
    """
    artifact = store.find(stage.name, stage.key)
    if artifact is None:
        raise StoreError(_unseen(store, stage))
    return artifact


def _unseen(store: Store, stage: Stage) -> str:
    return (
        f"Stage {stage.label} has no artifact {stage.name} {stage.key} in the store {store.uri}. "
        "Every node must reach the store under the same path."
    )


def _whole(store: Store, stage: Stage, board: BoardHandle) -> Path:
    """The verified files of an artifact on this machine."""
    artifact = required(store, stage)
    try:
        return artifact.path
    except DamagedArtifact as error:
        logger.warning("artifact damaged", extra={"stage": stage.name, "key": stage.key, "error": str(error)})
        store.set_aside(artifact, str(error))
        board.set_state(stage.key, stage.label, "damaged")
        raise


def _run_job(
    stages: Sequence[Stage], store: Store, board: BoardHandle, trial: str, asked_to_stop: Callable[[], bool]
) -> None:
    """Make the missing artifacts of consecutive stages in one Ray Train job, or in one Ray task for one worker."""

    def missing(among: Sequence[Stage]) -> list[Stage]:
        return [stage for stage in among if store.find(stage.name, stage.key) is None]

    with ExitStack() as stack:
        leases = {stage.key: store.lease(stage.name, stage.key) for stage in missing(stages)}
        for stage in stages:
            if stage.key in leases:
                board.set_state(stage.key, stage.label, "waiting")
                if not leases[stage.key].acquire(asked_to_stop, functools.partial(board.wait_for, stage.key)):
                    raise StopRequestedError(f"{trial} was asked to stop while it waited for {stage.label}.")
                stack.callback(leases[stage.key].release)
                if leases[stage.key].taken_over:
                    count_takeover(stage.name)
        # An artifact that another trial sets aside as damaged meanwhile is made again by that trial.
        wanted = missing([stage for stage in stages if stage.key in leases])
        if not wanted:
            return
        for stage in wanted:
            logger.info(
                "stage missed", extra={"stage": stage.name, "key": stage.key, "reason": why_missed(stage, store)}
            )
        stack.enter_context(_freeing_published([(stage, leases[stage.key]) for stage in wanted], store))
        fences = {stage.key: leases[stage.key].fence for stage in wanted}
        job = _Job(tuple(wanted), fences, store, board, trial, time.time())
        try:
            _stop_if_asked(board, trial, wanted[0])
            if any(stage.on_ray_train for stage in wanted):
                free_what_the_dead_held()
                # Not in the store, whose outage must not fail the job: nothing is read from this folder again.
                storage = stack.enter_context(tempfile.TemporaryDirectory(prefix="metsweep-train-"))
                train_on_ray(job, name=wanted[-1].key, storage=storage, resources=wanted[0].resources)
            else:
                _run_as_task(job)
            if missing(wanted) and board.stop_reason(trial):
                raise StopRequestedError(f"{trial} was asked to stop, and stopped.")
            if unseen := missing(wanted):
                raise UnseenArtifactError(_unseen(store, unseen[0]))
        except BaseException as error:
            unmade = missing(wanted)
            lost = any(not leases[stage.key].check() for stage in unmade)
            for stage in unmade:
                state = "stopped" if lost or isinstance(error, StopRequestedError) else "failed"
                board.set_state(stage.key, stage.label, state)
            if lost and not isinstance(error, StopRequestedError):
                raise LostLeaseError(f"The work of {trial} was taken over while it was suspended.") from error
            raise


@dataclass(frozen=True)
class _Job:
    """Runs its stages one after the other, on every rank; picklable."""

    stages: tuple[Stage, ...]
    fences: Mapping[str, Fence]
    """Stage key -> of its lease."""
    store: Store
    board: BoardHandle
    trial: str
    requested: float

    def __call__(self, placement: Placement) -> None:
        with StudyLogs(self.store, self.board.study).written(trial=self.trial):
            requested = self.requested
            for stage in self.stages:
                if self.store.find(stage.name, stage.key):  # published before a worker was lost and all began again
                    continue
                if placement.world_size == 1:
                    _stop_if_asked(self.board, self.trial, stage)
                with about(stage=stage.name, key=stage.key):
                    produce(stage, self.store, placement, self.board, self.trial, self.fences[stage.key], requested)
                requested = time.time()


def _stop_if_asked(board: BoardHandle, trial: str, before: Stage) -> None:
    if board.stop_reason(trial):
        raise StopRequestedError(f"{trial} was asked to stop before {before.label}.")


def _run_as_task(job: _Job) -> None:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    resources = job.stages[0].resources

    @ray.remote(
        num_cpus=resources.cpus_per_worker,
        num_gpus=resources.gpus_per_worker,
        max_retries=FAILURES,
        # As Ray Train does; a MetsweepError would only be raised again.
        retry_exceptions=[RuntimeError, OSError],  # pyright: ignore[reportArgumentType]
        # Outside the empty placement group of the trial's driver.
        scheduling_strategy=PlacementGroupSchedulingStrategy(None),  # pyright: ignore[reportArgumentType]
    )
    def task() -> bool:
        import torch

        torch.set_num_threads(resources.cpus_per_worker)
        return left_its_node(lambda: job(Placement.alone()))

    name = f"{job.trial}: {', '.join(stage.name for stage in job.stages)}"  # what `ps` and Ray's dashboard show
    try:
        while ray.get(task.options(name=name).remote()):
            logger.info("left a node that will be taken away", extra={"trial": job.trial})
    except (OutOfMemoryError, WorkerCrashedError, NodeDiedError) as error:
        what = "its node ran out of memory" if isinstance(error, OutOfMemoryError) else "its process died"
        raise TrainingError(
            f"{name}: {what} in every attempt. Raise cpus_per_worker (resources.gan, resources.detector) so that fewer "
            "run at once; Ray's own logs have the details."
        ) from error


def _freeing_published(leases: Sequence[tuple[Stage, Lease]], store: Store) -> AbstractContextManager[None]:
    """Frees each stage's lease once its artifact is published, so that who waits for a GAN waits for nothing more."""
    held = list(leases)

    def look() -> None:
        with suppress(StoreError):  # an outage: the next look may succeed
            for stage, lease in [pair for pair in held if store.find(pair[0].name, pair[0].key)]:
                lease.release()
                held.remove((stage, lease))

    return repeating(look, lambda: FREED_AFTER_SECONDS)
