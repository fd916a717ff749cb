"""How long a launch takes still: what the plan expects, corrected by how fast the launch has been so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from sweep.plan import Plan
from sweep.plan.estimate import Estimator
from sweep.plan.schedule import Jobs, schedule
from sweep.stages import Stage
from sweep.store import Store
from sweep.studies.progress import StageProgress

GROWS_FROM = 1.25
"""An estimate that was told is only taken back for one that is so many times larger."""
GIVEN_UP = ("failed", "stopped")


class Pace:
    """The time left of one launch, from its start.

    Expected is what list scheduling needs for what is missing, by what earlier stages took when the launch began, or by
    operations counted: these estimates stay, so that nothing jumps when a first stage of its kind is done. As the share
    of the expected time that is over grows, so does the weight of the launch's own speed. A launch that is up to twice
    as slow as expected is told a time that only shrinks.

    Args:
        plan: the study's.
        store: where earlier stages are.
        cpus: of the cluster.
        gpus: of the cluster.
        clock: monotonic seconds.
    """

    def __init__(
        self, plan: Plan, store: Store, cpus: float, gpus: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plan, self._cpus, self._gpus, self._clock = plan, cpus, gpus, clock
        self._estimator = Estimator(plan, store)
        self._began = clock()
        self._expected: float | None = None
        self._told = float("inf")

    def seconds_left(self, there: Mapping[str, set[str]], progress: Mapping[str, StageProgress]) -> float:
        """Seconds from now to the end of the launch.

        Args:
            there: stage name -> keys that are done.
            progress: stage key -> how far it is, of stages that this launch looked at.
        """
        given_up = {key for key, stage in progress.items() if stage.state in GIVEN_UP}
        missing = _missing(self._plan, there, given_up)
        jobs = Jobs(missing, self._estimator, _shares(progress))
        rest = schedule(jobs.all, self._cpus, self._gpus).seconds
        if self._expected is None:
            self._expected = rest
        if not self._expected:
            return 0.0
        left = rest / self._expected * (rest + self._clock() - self._began)
        if left < self._told or left > GROWS_FROM * self._told:
            self._told = left
        return self._told


def seconds_left(
    plan: Plan,
    store: Store,
    there: Mapping[str, set[str]],
    progress: Mapping[str, StageProgress],
    given_up: Collection[str] = (),
) -> float | None:
    """By what earlier stages of each kind took, on as much of the cluster as is busy now: for who looks from outside.

    Args:
        plan: the study's.
        store: where earlier stages are.
        there: stage name -> keys that are done.
        progress: stage key -> how far it is, of stages that this launch looked at.
        given_up: keys of stages that nobody will make: of trials that failed or were stopped.

    Returns:
        None where nothing runs, or where nothing of some kind has been made yet.
    """
    missing = _missing(plan, there, given_up)
    busy = [missing[key].resources for key, stage in progress.items() if stage.state == "running" and key in missing]
    jobs = Jobs(missing, Estimator(plan, store, there, count_flops=False), _shares(progress))
    if not busy or jobs.unknown:
        return None
    cpus = sum(on.workers * on.cpus_per_worker for on in busy)
    gpus = sum(on.workers * on.gpus_per_worker for on in busy)
    return schedule(jobs.all, cpus, gpus).seconds


def _missing(plan: Plan, there: Mapping[str, set[str]], given_up: Collection[str]) -> dict[str, Stage]:
    return {key: stage for key, stage in plan.stages.items() if key not in there[stage.name] and key not in given_up}


def _shares(progress: Mapping[str, StageProgress]) -> dict[str, float]:
    return {key: stage.done / stage.total for key, stage in progress.items() if stage.total}
