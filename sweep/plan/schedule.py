"""How long a plan takes on a cluster: its stages as jobs, and list scheduling of the jobs."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweep.plan.estimate import Estimator
from sweep.stages import Stage
from trainers.distributed import WorkerResources

START_UP_S = 15.0
"""Starting one Ray Train job; 13.6-20.2 s were measured."""


@dataclass
class Job:
    """Stages that run one after another on the same workers."""

    seconds: float
    on: WorkerResources
    after: Sequence[int] = ()
    """Positions of the jobs that this job waits for, all smaller than its own."""


@dataclass(frozen=True)
class Schedule:
    """The result of list scheduling."""

    seconds: float
    """From the first start to the last end."""
    longest_chain: float
    """Seconds of the longest chain of jobs that wait for each other; no cluster is faster."""
    peak: int
    """Most jobs at once."""
    peak_cpus: float
    peak_gpus: float


class Jobs:
    """The jobs that make missing stages: those of a GAN and its shards, and those of each trial.

    Args:
        missing: stage key -> stage.
        progress: stage key -> share that is done, of stages under way.
    """

    def __init__(
        self, missing: Mapping[str, Stage], estimator: Estimator, progress: Mapping[str, float] | None = None
    ) -> None:
        self.all: list[Job] = []
        self.unknown: set[str] = set()
        """Names of stages whose time is unknown; they count as 0 s."""
        self._estimator, self._progress = estimator, progress or {}
        self._job_of: dict[str, int] = {}
        led: dict[str, int] = {}
        for stage in missing.values():
            leader = stage.inputs[stage.joins].key if stage.joins else stage.key
            if leader in led:
                self._join(stage, led[leader])
            else:
                led[leader] = self.add([stage])

    def add(self, stages: Sequence[Stage], after: Sequence[int] | None = None) -> int:
        """Add a job of these stages, after those that make what the first of them reads; returns its position."""
        first, job = stages[0], len(self.all)
        if after is None:
            after = sorted({self._job_of[needed.key] for needed in first.inputs.values() if needed.key in self._job_of})
        starts = first.on_ray_train and not self._progress.get(first.key)
        self.all.append(Job(START_UP_S if starts else 0.0, first.resources, after))
        for stage in stages:
            self._join(stage, job)
        return job

    def _join(self, stage: Stage, job: int) -> None:
        self._job_of[stage.key] = job
        self.all[job].seconds += self._seconds(stage)

    def _seconds(self, stage: Stage) -> float:
        estimate = self._estimator.of(stage)
        if estimate is None:
            self.unknown.add(stage.name)
            return 0.0
        return estimate.seconds * (1 - self._progress.get(stage.key, 0.0))


def schedule(jobs: Sequence[Job], cpus: float, gpus: float) -> Schedule:
    """List scheduling: whenever something is free, the job that the longest chain waits for starts.

    The cluster counts as one machine of `cpus` cores and `gpus` GPUs. A job that asks for more runs on all of
    them, as elastic runs do.
    """
    tails = _tails(jobs)
    waits = [len(job.after) for job in jobs]
    followers: list[list[int]] = [[] for _ in jobs]
    for position, job in enumerate(jobs):
        for before in job.after:
            followers[before].append(position)
    demands = [_demand(job.on, cpus, gpus) for job in jobs]
    ready: dict[tuple[float, float], list[tuple[float, int]]] = defaultdict(list)
    for position, waiting in enumerate(waits):
        if not waiting:
            heapq.heappush(ready[demands[position]], (-tails[position], position))
    running: list[tuple[float, int]] = []
    now, free, peak, most = 0.0, (cpus, gpus), 0, (0.0, 0.0)
    while True:
        while ready and (fits := _first_that_fits(ready, free)) is not None:
            _, position = heapq.heappop(ready[fits])
            free = (free[0] - fits[0], free[1] - fits[1])
            heapq.heappush(running, (now + jobs[position].seconds, position))
        peak, most = max(peak, len(running)), (max(most[0], cpus - free[0]), max(most[1], gpus - free[1]))
        if not running:
            break
        now, position = heapq.heappop(running)
        free = (free[0] + demands[position][0], free[1] + demands[position][1])
        for follower in followers[position]:
            waits[follower] -= 1
            if not waits[follower]:
                heapq.heappush(ready[demands[follower]], (-tails[follower], follower))
    return Schedule(now, max(tails, default=0.0), peak, *most)


def schedule_anywhere(jobs: Sequence[Job]) -> Schedule:
    """As `schedule`, on a cluster with room for all jobs at once."""
    cpus = sum(job.on.workers * job.on.cpus_per_worker for job in jobs)
    return schedule(jobs, cpus, sum(job.on.workers * job.on.gpus_per_worker for job in jobs))


def _tails(jobs: Sequence[Job]) -> list[float]:
    """Seconds from each job's start to the end of the longest chain that waits for it."""
    tails = [job.seconds for job in jobs]
    for position in range(len(jobs) - 1, -1, -1):
        for before in jobs[position].after:
            tails[before] = max(tails[before], jobs[before].seconds + tails[position])
    return tails


def _demand(on: WorkerResources, cpus: float, gpus: float) -> tuple[float, float]:
    return min(on.workers * on.cpus_per_worker, cpus), min(on.workers * on.gpus_per_worker, gpus)


def _first_that_fits(
    ready: Mapping[tuple[float, float], list[tuple[float, int]]], free: tuple[float, float]
) -> tuple[float, float] | None:
    fitting = [
        (heap[0], demand)
        for demand, heap in ready.items()
        if heap and demand[0] <= free[0] + 1e-9 and demand[1] <= free[1] + 1e-9
    ]
    return min(fitting)[1] if fitting else None
