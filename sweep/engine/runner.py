"""Runs a plan's trials with Ray Tune; every stage runs on Ray Train or as a Ray task.

The driver holds no truth: what is done is what is in the store. Kill it at any moment and launch again.
"""

from __future__ import annotations

import logging
from typing import Any

from sweep.engine.cluster import concurrent_trials
from sweep.engine.execution import ensure
from sweep.engine.progress import Board
from sweep.logs import log_to
from sweep.plan import Plan, Trial
from sweep.store import Store

logger = logging.getLogger(__name__)

HEAD_NODE, DRIVER_SHARE = "node:__internal_head__", 0.001
"""A trial's driver function only waits: it holds a share of a resource that no worker needs, on the node least likely
to be taken away. With so much as a sliver of a CPU it could starve the workers that it waits for."""


def start_board() -> Any:
    """The progress board, an actor that occupies nothing."""
    import ray

    return ray.remote(Board).options(num_cpus=0).remote()


def run_trials(plan: Plan, store: Store, board: Any) -> dict[str, str]:
    """Run every trial of whose goals one is not in the store; returns trial name -> error of those that failed.

    A failed trial does not stop the others. Must be called with Ray connected.
    """
    from ray import tune

    waiting = {
        trial.name: trial
        for trial in plan.execution_order()
        if any(store.find(goal.name, goal.key) is None for goal in trial.goals)
    }
    if not waiting:
        return {}
    trainable = tune.with_parameters(_run_trial, trials=waiting, store=store, board=board)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 0, HEAD_NODE: DRIVER_SHARE}),
        param_space={"trial": tune.grid_search(list(waiting))},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=concurrent_trials([plan.study.resources.gan, plan.study.resources.detector]),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=plan.study.name,
            storage_path=str(store.local / "runs" / "tune"),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    results = tuner.fit()
    failed = {}
    for result in results:
        if result.error is not None:
            name = (result.config or {}).get("trial", "?")
            failed[name] = str(result.error).strip().splitlines()[-1]
            logger.error("trial failed", extra={"trial": name, "error": str(result.error)})
    return failed


def _run_trial(config: dict[str, Any], trials: dict[str, Trial], store: Store, board: Any) -> dict[str, Any]:
    log_to(store.local / "logs")
    trial = trials[config["trial"]]
    artifacts = {goal.name: ensure(goal, store, board) for goal in trial.goals}
    return {name: str(artifact.path) for name, artifact in artifacts.items()}
