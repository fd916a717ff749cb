"""Connects to Ray: a cluster named by RAY_ADDRESS, or one of this machine alone that ends with the command."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.engine.growth import nodes_to_come
from sweep.engine.local_ray import private_folders
from sweep.engine.reaching_ray import reached
from sweep.logs import log_file
from sweep.machine_use import usable_gpus
from sweep.redaction import without_secrets
from sweep.text import visible
from trainers.distributed import FAILURES, WorkerResources
from trainers.exceptions import ClusterError

logger = logging.getLogger(__name__)

RAY_ENVIRONMENT = {
    # A report waits for the controller's next poll; the default of 2 s would cost more than a short stage's work.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Workers may wait for others' stages to free their CPUs; what can never be placed is refused before launch.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(7 * 24 * 3600),
    "RAY_USAGE_STATS_ENABLED": "0",
    # Killed for want of memory, a task would begin again without end.
    "RAY_task_oom_retries": str(FAILURES),
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A trial reports figures only while it trains, and its outcome at the end.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # metsweep shows progress and logs results itself. Ctrl-C must end the command at once: the store keeps its work.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}

LOCAL_ENVIRONMENT = {
    # Saves one process per Ray Train job: a machine of one's own is not preempted.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}

STARTS = 4
"""How often a Ray of this machine alone is started: Ray gives a node 30 s, which a busy machine may exceed."""

NO_ACTOR = b"\xff" * 12
"""Prefix of a creator's id where the creator is no actor."""


@contextmanager
def ray_cluster(address: str | None, needs: Sequence[WorkerResources]) -> Iterator[None]:
    """Connected to Ray within the block.

    A Ray of this machine alone gives its workers this process's environment, keys included; the nodes of a cluster have
    keys of their own.

    Args:
        address: as RAY_ADDRESS (`host:port` or `auto`); None starts a cluster on this machine.
        needs: what the stages of the sweep occupy; each must fit the cluster.

    Raises:
        ClusterError: Ray cannot be reached, or a stage can never be placed on it.
    """
    import ray

    environment = RAY_ENVIRONMENT | (LOCAL_ENVIRONMENT if address is None else {})
    os.environ |= {key: os.environ.get(key, value) for key, value in environment.items()}
    with private_folders() if address is None else reached(address) as folder:
        try:
            _connect(address, folder, environment)
            connected().refuse_infeasible(needs)
            with _errors_in_one_line(alone=address is None):
                yield
        finally:
            # Its folder may go only once its processes have ended.
            ray.shutdown(wait_for_processes=folder is not None)


def _connect(address: str | None, folder: Path | None, environment: dict[str, str]) -> None:
    import ray

    try:
        if folder is None:
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.WARNING,
                runtime_env={"env_vars": environment},
            )
        else:
            with _ctrl_z_blocked():
                _start_here(folder)
    except Exception as error:  # Ray raises a bare Exception for a node that starts too slowly
        where = without_secrets(address or "this machine")
        raise ClusterError(f"Cannot connect to Ray at {where}: {without_secrets(error)}") from None


def _start_here(folder: Path) -> None:
    """Start a Ray of this machine alone, with its session in `folder`."""
    import ray

    # "local": without it Ray would join any cluster that `ray start` has begun on this machine.
    options: dict[str, Any] = {"include_dashboard": False, "logging_level": logging.ERROR, "_temp_dir": str(folder)}
    for attempt in range(1, STARTS + 1):
        try:
            ray.init("local", log_to_driver=False, **options)
            return
        except Exception as error:
            if attempt == STARTS:
                raise
            logger.warning(f"Ray did not start: attempt {attempt} of {STARTS}", extra={"error": str(error)})
            ray.shutdown()


@contextmanager
def _ctrl_z_blocked() -> Iterator[None]:
    """Processes begun within the block are not stopped by Ctrl-Z in the terminal, as their process group is.

    Ray's daemons stopped for a minute are dead to the workers, which are not stopped; the launch alone may well be.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _errors_in_one_line(alone: bool) -> Iterator[None]:
    """Prints each kind of error that Ray's daemons report as one line; the pages of logs go to our own log file.

    Args:
        alone: whether the cluster is this machine alone, and ends with its raylet.
    """
    from ray._private import worker

    printed: set[str] = set()
    before = worker.print_to_stdstream

    def print_line(data: Mapping[str, Any], **_: bool) -> None:
        text = "\n".join(data["lines"])
        logger.error("Ray reports an error", extra={"text": text})
        # What follows are possible reasons, the same each time, and the end of a log.
        line = re.split("\n|Possible reasons|This can happen", text)[0].strip()
        kind = line.partition(":")[0]
        if kind not in printed:
            printed.add(kind)
            if alone and "Raylet is terminated" in line:
                line += " This launch ends, too; run the same command again to continue."
            print(visible(f"Ray: {line} More in {log_file() or 'the logs of Ray'}"), file=sys.stderr, flush=True)

    worker.print_to_stdstream = print_line
    try:
        yield
    finally:
        worker.print_to_stdstream = before


@dataclass(frozen=True)
class Capacity:
    """The resources of a cluster, free or in use."""

    nodes: tuple[Mapping[str, float], ...]
    """Ray's resources of each node, e.g. `{"CPU": 8, "GPU": 1}`."""
    to_come: tuple[Mapping[str, float], ...] = ()
    """The same of the nodes that an autoscaler may add."""

    def total(self, resource: str) -> float:
        """Of all nodes, also those to come."""
        return sum(node.get(resource, 0) for node in (*self.nodes, *self.to_come))

    def refuse_infeasible(self, needs: Sequence[WorkerResources]) -> None:
        """Refuse workers that can never be placed.

        Raises:
            ClusterError: a worker is larger than the largest node, or there are more workers than the cluster holds.
        """
        for need in needs:
            for resource, amount in (("CPU", need.cpus_per_worker), ("GPU", need.gpus_per_worker)):
                largest = max((node.get(resource, 0) for node in (*self.nodes, *self.to_come)), default=0)
                if amount > largest:
                    raise ClusterError(
                        f"A worker needs {amount:g} {resource}s, but the largest node has {largest:g}. "
                        f"Lower resources.*.{resource.lower()}s_per_worker in the study, or add such a node (where an "
                        "autoscaler adds nodes: infra/README.md)."
                    )
                workers = need.workers if need.min_workers is None else need.min_workers
                if amount * workers > self.total(resource):
                    raise ClusterError(
                        f"{workers} workers of {amount:g} {resource}s were asked for, but the cluster has "
                        f"{self.total(resource):g}. Lower resources.*.workers (or min_workers, if set) in the study, "
                        "or add nodes."
                    )


def connected() -> Capacity:
    """The cluster that this process is connected to.

    Raises:
        ClusterError: its labels make no sense.
    """
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    return Capacity(tuple(node["Resources"] for node in alive), nodes_to_come(alive))


def look_at(address: str | None) -> Capacity:
    """The capacity of a cluster, or of this machine where `address` is None; runs nothing on it.

    Raises:
        ClusterError: Ray cannot be reached.
    """
    if address is None:
        return Capacity(({"CPU": float(os.cpu_count() or 1), "GPU": float(usable_gpus())},))
    with ray_cluster(address, ()):
        return connected()


def describe_cluster(address: str | None) -> str:
    """Where the stages run, and the size of that cluster now."""
    has = connected()
    growth = f", of which {len(has.to_come)} yet to be added" if has.to_come else ""
    size = f"{len(has.nodes) + len(has.to_come)} nodes{growth}, {has.total('CPU'):g} CPUs, {has.total('GPU'):g} GPUs"
    return f"{without_secrets(address or 'local')} ({size})"


def concurrent_trials(needs: Sequence[WorkerResources]) -> int:
    """How many trials the cluster can keep busy at once, each at its largest stage; at least 1."""
    has = connected()
    slots = [has.total("CPU") // (need.workers * need.cpus_per_worker) for need in needs]
    slots += [has.total("GPU") // (need.workers * need.gpus_per_worker) for need in needs if need.gpus_per_worker > 0]
    return max(1, int(min(slots)))


def free_what_the_dead_held() -> None:
    """Remove this job's placement groups whose creator, the controller of a Ray Train run, was killed.

    Ray itself does so only where its dashboard runs (ray#58515); without it the launch would lose their CPUs.
    """
    import ray
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # pyright: ignore[reportAttributeAccessIssue]
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    job = ray.get_runtime_context().get_job_id()
    for content in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(content)
        # A group that a driver created is marked as if its actor were dead, too, though it has none.
        by_actor = not group.creator_actor_id.startswith(NO_ACTOR)
        ours = group.creator_job_id.hex() == job
        if ours and by_actor and group.creator_actor_dead and group.state != PlacementGroupTableData.REMOVED:
            logger.warning("placement group of a dead Ray Train run removed")
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
