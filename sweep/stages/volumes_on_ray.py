"""Prepares the volumes of a cohort as Ray tasks over the whole cluster."""

from __future__ import annotations

from collections.abc import Sequence

from trainers.data.prepare_volume import (
    BrokenVolume,
    Outcomes,
    PrepareConfig,
    PreparedVolume,
    VolumeTask,
    prepare_or_reason,
)
from trainers.data.processes import memory_needed
from trainers.distributed import FAILURES
from trainers.exceptions import TrainingError
from trainers.one_thread import use_one_thread

LEAST_PENDING = 8
"""Volumes that wait or run even on a small cluster, for which an autoscaler may add nodes."""
GPU_SHARE = 0.125
"""Of a GPU, for a volume: deepbet takes a few GB of its memory."""


def within_ray() -> bool:
    """Whether this process is connected to a Ray cluster."""
    try:
        import ray
    except ImportError:
        return False
    return ray.is_initialized()


def prepare_on_ray(tasks: Sequence[VolumeTask], config: PrepareConfig) -> Outcomes:
    """One Ray task a volume on whatever node has a CPU and the memory free; twice as many volumes wait or run as the
    cluster has CPUs, and no more results are held.

    To be called in the main thread of a Ray task: Ray lends the CPUs of a task that waits for others to these, so that
    a stage that holds all CPUs of its node waits for nobody. An actor would keep them.

    Raises:
        TrainingError: a volume's process died, or its node ran out of memory, in every attempt.
        ClusterError: a node strips skulls with another program than this one.
    """
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

    @ray.remote(num_cpus=1, max_retries=FAILURES, scheduling_strategy="SPREAD")
    def prepare_one(task: VolumeTask) -> PreparedVolume | BrokenVolume:
        use_one_thread()
        return prepare_or_reason(task, config)

    # What no node has would wait for ever.
    largest = max(node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"])
    gpus = GPU_SHARE if ray.available_resources().get("GPU", 0) >= 1 else 0
    at_once = max(LEAST_PENDING, 2 * int(ray.cluster_resources().get("CPU", 1)))
    left = list(reversed(tasks))
    pending: dict[ray.ObjectRef, VolumeTask] = {}
    try:
        while left or pending:
            while left and len(pending) < at_once:
                task = left.pop()
                memory = int(min(memory_needed(task), largest))
                name = f"prepare {task.stem}"  # what `ps` and Ray's dashboard show
                pending[prepare_one.options(name=name, memory=memory, num_gpus=gpus).remote(task)] = task
            done, _ = ray.wait(list(pending), num_returns=1)
            task = pending.pop(done[0])
            try:
                yield task, ray.get(done[0])
            except (OutOfMemoryError, WorkerCrashedError, NodeDiedError) as error:
                what = "its node ran out of memory" if isinstance(error, OutOfMemoryError) else "its process died"
                raise TrainingError(
                    f"patient {task.subject.patient_id!r}: {task.path}: {what} in every attempt to prepare it. Ray's "
                    "own logs have the details."
                ) from error
            except RayTaskError as error:
                raise error.cause from error  # its own message, not that of Ray
    finally:
        for reference in pending:
            ray.cancel(reference)
