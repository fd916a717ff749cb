"""The time left of a launch: the plan's estimate, corrected by the launch's pace so far."""

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
"""A shown estimate is replaced by a larger one only if that is so many times larger."""
GIVEN_UP = ("failed", "stopped")


class Pace:
    """The time left of one launch, from its start.

    The expectation is the list schedule of the missing stages, by the times of stages made before the launch, or by
    counted operations: these estimates stay, so that nothing jumps when a first stage of its kind is done. The more of
    the expected time has passed, the more the launch's own pace weighs. For a launch up to twice as slow as expected,
    the time shown only shrinks.

    Args:
        store: where earlier stages are.
        cpus, gpus: of the cluster.
        clock: monotonic seconds.
    """

    def __init__(
        self, plan: Plan, store: Store, cpus: float, gpus: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plan, self._cpus, self._gpus, self._clock = plan, cpus, gpus, clock
        self._estimator = Estimator(plan, store)
        self._began = clock()
        self._expected: float | None = None
        self._shown = float("inf")

    def seconds_left(self, done_keys: Mapping[str, set[str]], progress: Mapping[str, StageProgress]) -> float:
        """Seconds from now to the end of the launch.

        Args:
            done_keys: stage name -> keys that are done.
            progress: stage key -> its progress, of stages that this launch considered.
        """
        given_up = {key for key, stage in progress.items() if stage.state in GIVEN_UP}
        missing = _missing(self._plan, done_keys, given_up)
        jobs = Jobs(missing, self._estimator, _shares(progress))
        rest = schedule(jobs.all, self._cpus, self._gpus).seconds
        if self._expected is None:
            self._expected = rest
        if not self._expected:
            return 0.0
        left = rest / self._expected * (rest + self._clock() - self._began)
        if left < self._shown or left > GROWS_FROM * self._shown:
            self._shown = left
        return self._shown


def seconds_left(
    plan: Plan,
    store: Store,
    done_keys: Mapping[str, set[str]],
    progress: Mapping[str, StageProgress],
    given_up: Collection[str] = (),
) -> float | None:
    """From the times of earlier stages of each kind, on the part of the cluster that is busy now.

    Args:
        done_keys, progress: as in `Pace.seconds_left`.
        given_up: keys of stages that nobody will make: of trials that failed or were stopped.

    Returns:
        None if nothing runs, or if some kind of stage has not been made yet.
    """
    missing = _missing(plan, done_keys, given_up)
    busy = [missing[key].resources for key, stage in progress.items() if stage.state == "running" and key in missing]
    jobs = Jobs(missing, Estimator(plan, store, done_keys, count_flops=False), _shares(progress))
    if not busy or jobs.unknown:
        return None
    cpus = sum(on.workers * on.cpus_per_worker for on in busy)
    gpus = sum(on.workers * on.gpus_per_worker for on in busy)
    return schedule(jobs.all, cpus, gpus).seconds


def _missing(plan: Plan, done_keys: Mapping[str, set[str]], given_up: Collection[str]) -> dict[str, Stage]:
    done_or_given_up = set().union(*done_keys.values(), given_up)
    return {key: stage for key, stage in plan.stages.items() if key not in done_or_given_up}


def _shares(progress: Mapping[str, StageProgress]) -> dict[str, float]:
    return {key: stage.done / stage.total for key, stage in progress.items() if stage.total}
