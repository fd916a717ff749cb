"""How long a launch takes still, at today's pace."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sweep.engine.board import StageProgress
from sweep.plan import Plan
from sweep.plan.estimate import Estimator
from sweep.plan.schedule import Jobs, schedule
from sweep.store import Store


def seconds_left(
    plan: Plan,
    store: Store,
    there: Mapping[str, set[str]],
    progress: Mapping[str, StageProgress],
    given_up: Collection[str] = (),
) -> float | None:
    """By what earlier stages of each kind took, on as much of the cluster as is busy now.

    Args:
        plan: the study's.
        store: where earlier stages are.
        there: stage name -> keys that are done.
        progress: stage key -> how far it is, of stages that this launch looked at.
        given_up: keys of stages that nobody will make: of trials that failed or were stopped.

    Returns:
        None where nothing runs, or where nothing of some kind has been made yet.
    """
    missing = {key: stage for key, stage in plan.stages.items() if key not in there[stage.name] and key not in given_up}
    busy = [missing[key].resources for key, stage in progress.items() if stage.state == "running" and key in missing]
    shares = {key: stage.done / stage.total for key, stage in progress.items() if stage.total}
    jobs = Jobs(plan, missing, Estimator(plan, store, there, count_flops=False), shares)
    if not busy or jobs.unknown:
        return None
    cpus = sum(on.workers * on.cpus_per_worker for on in busy)
    gpus = sum(on.workers * on.gpus_per_worker for on in busy)
    return schedule(jobs.all, cpus, gpus).seconds
