"""Runs trials with Ray Tune; every stage runs on Ray Train or as a Ray task.

The driver holds no truth: what is done is what is in the store, what was drawn is in Optuna's database. Kill it at any
moment and launch again.
"""

from __future__ import annotations

import logging
import tempfile

from search_spaces.study import Study
from sweep.engine.board import DRIVER_SHARE, HEAD_NODE, BoardHandle
from sweep.engine.cluster import concurrent_trials
from sweep.engine.search import StudySearch
from sweep.engine.trial_driver import run_trial
from sweep.store import Store
from sweep.studies.progress import watched_figure

logger = logging.getLogger(__name__)

LOST_DRIVERS = 10
"""How often a trial's driver function is started again after its process was lost."""

KEYS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
"""Ray Tune would copy these keys into the runtime environment of its actors, which appears in process arguments and in
Ray's logs. Workers of this machine inherit the launch's environment, and the nodes of a cluster have their own keys."""

MOST_TRIALS = 10**9
"""The search decides when the launch ends."""


def run_trials(study: Study, search: StudySearch, store: Store, board: BoardHandle) -> None:
    """Run what the search hands out until it is idle or closed. Must be called with Ray connected."""
    from ray import tune
    from ray.tune.execution import class_cache

    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(KEYS)
    watched = watched_figure(study.objectives[0].direction) if study.search.pruning != "none" else None
    # Not in the store, whose outage must not end the launch: nothing is read from this folder again.
    with tempfile.TemporaryDirectory(prefix="metsweep-tune-") as state:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(run_trial, store=store, board=board, watched=watched),
                {"CPU": 0, HEAD_NODE: DRIVER_SHARE},
            ),
            tune_config=tune.TuneConfig(
                search_alg=search,
                num_samples=MOST_TRIALS,
                max_concurrent_trials=concurrent_trials([study.resources.gan, study.resources.detector]),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=study.name,
                storage_path=state,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=LOST_DRIVERS),
            ),
        )
        tuner.fit()
