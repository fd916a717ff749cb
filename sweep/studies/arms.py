"""The arms of an ablation in Optuna's study, which only keeps a record of them, for its dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces.cell import VARIANTS
from search_spaces.study import Study
from sweep.objectives import NOT_A_NUMBER, evaluated, objective_values, undefined
from sweep.plan import Plan, Trial
from sweep.store import Store
from sweep.studies.optuna_study import ARM, ERROR, create_optuna_study

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

KEYS = "metsweep.evaluations"
"""Attribute: keys of the evaluations of an arm, one a seed."""
MOST_SLICES = 10**9
"""Optuna refuses a range that changes, so it is wide from the start."""


def record_arms(plan: Plan, store: Store, storage: BaseStorage) -> dict[str, str]:
    """Record every arm whose seeds are all evaluated and that is not recorded yet.

    Returns:
        Name of an arm's first trial -> why it failed, of arms recorded now whose objective is not a number.
    """
    there = store.keys("evaluate")
    complete = [trials for trials in plan.cells.values() if all(trial.evaluate.key in there for trial in trials)]
    if not complete:
        return {}
    found = create_optuna_study(plan.study, storage)
    failed = {trials[0].name: record_arm(found, plan.study, trials, store) for trials in complete}
    return {name: error for name, error in failed.items() if error is not None}


def record_arm(
    found: optuna.Study, study: Study, trials: Sequence[Trial], store: Store, error: str | None = None
) -> str | None:
    """Record one arm that has ended, once: as complete with the means over its seeds, or as failed.

    Args:
        found: Optuna's study.
        study: ours.
        trials: of the arm, one a seed; all evaluated, unless it failed.
        store: where the evaluations are.
        error: why it failed.

    Returns:
        Why it failed, if only now that shows: an objective is not a number.
    """
    import optuna

    keys = [trial.evaluate.key for trial in trials]
    attributes = [one.user_attrs for one in found.get_trials(deepcopy=False)]
    told = {one.get(ERROR, "") for one in attributes if (one.get(ARM), one.get(KEYS)) == (trials[0].arm, keys)}
    if error in told or (error is None and any(why == "" or why.endswith(NOT_A_NUMBER) for why in told)):
        return None
    metrics = [] if error else [evaluated(trial, store) for trial in trials]
    not_a_number = None if error else undefined(study, metrics)
    failed = error or not_a_number
    found.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
            values=None if failed else objective_values(study, metrics),
            params={"arm.variant": trials[0].variant, "arm.count": trials[0].count},
            distributions={
                "arm.variant": optuna.distributions.CategoricalDistribution(VARIANTS),
                "arm.count": optuna.distributions.IntDistribution(0, MOST_SLICES),
            },
            user_attrs={ARM: trials[0].arm, KEYS: keys} | ({ERROR: failed} if failed else {}),
        )
    )
    return not_a_number
