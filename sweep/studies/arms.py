"""Records the arms of an ablation in Optuna's study, for its dashboard only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.study import Study
from sweep.objectives import lacks_slices, measured_seeds, not_a_number, objective_values, results_of, undefined
from sweep.plan import Plan, Trial
from sweep.stages import EvaluateStage, RealismStage
from sweep.store import Store
from sweep.studies.optuna_study import ARM, ERROR, create_optuna_study
from trainers.variants import VARIANTS

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage

KEYS = "metsweep.evaluations"
"""Attribute: keys of the evaluations of an arm, one per seed."""
UNDEFINED = "metsweep.undefined"
"""Attribute: the objective of a failed arm that is not a number; `ERROR` says so in words."""
VARIANT, COUNT = "arm.variant", "arm.count"
"""Parameters of an arm."""
MOST_SLICES = 10**9
"""Optuna refuses a range that changes, so the range is wide from the start."""


def record_arms(plan: Plan, store: Store, storage: BaseStorage) -> dict[str, str]:
    """Record every arm whose seeds are all measured, unless it is recorded already.

    Returns:
        Name of an arm's first trial -> its error, of arms recorded now whose objective is not a number.
    """
    names = (EvaluateStage.name, RealismStage.name) if plan.study.judges_slices else (EvaluateStage.name,)
    done_keys = set[str]().union(*(store.keys(name) for name in names))
    complete = [
        trials
        for trials in plan.cells.values()
        if all(stage.key in done_keys for trial in trials for stage in results_of(trial, plan.study))
    ]
    if not complete:
        return {}
    optuna_study = create_optuna_study(plan.study, storage)
    failed = {trials[0].name: record_arm(optuna_study, plan.study, trials, store) for trials in complete}
    return {name: error for name, error in failed.items() if error is not None}


def record_arm(
    optuna_study: optuna.Study, study: Study, trials: Sequence[Trial], store: Store, error: str | None = None
) -> str | None:
    """Record one arm that has ended, once: as complete with the mean over its seeds, or as failed.

    An arm without synthetic slices, where an objective or a constraint is about them, is not recorded as complete.

    Args:
        trials: of the arm, one per seed; all evaluated, unless it failed.
        error: why it failed.

    Returns:
        The error of an arm whose objective turns out not to be a number.
    """
    import optuna

    if error is None and lacks_slices(trials[0], study):
        return None
    keys = [trial.evaluate.key for trial in trials]
    recorded = [
        attributes
        for attributes in (trial.user_attrs for trial in optuna_study.get_trials(deepcopy=False))
        if (attributes.get(ARM), attributes.get(KEYS)) == (trials[0].arm, keys)
    ]
    if any(attributes.get(ERROR) == error or (not error and _is_undefined(attributes)) for attributes in recorded):
        return None
    measured = [] if error else measured_seeds(trials, study, store)
    undefined_figure = None if error else undefined(study, measured)
    undefined_error = undefined_figure and not_a_number(undefined_figure)
    failed = error or undefined_error
    params = {VARIANT: trials[0].variant, COUNT: trials[0].count}
    distributions = _distributions(optuna_study, trials[0].variant)
    optuna_study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
            values=None if failed else objective_values(study, measured),
            params={name: value for name, value in params.items() if name in distributions},
            distributions=distributions,
            user_attrs={ARM: trials[0].arm, KEYS: keys}
            | ({ERROR: failed} if failed else {})
            | ({UNDEFINED: undefined_figure} if undefined_figure else {}),
        )
    )
    return undefined_error


def _distributions(optuna_study: optuna.Study, variant: str) -> dict[str, BaseDistribution]:
    """Of an arm's parameters. Optuna refuses choices other than those of the first arm that was recorded, so an arm of
    a variant that metsweep gained later is recorded without its variant; the attribute `ARM` names it."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    recorded = [trial.distributions.get(VARIANT) for trial in optuna_study.get_trials(deepcopy=False)]
    choices = next((kept.choices for kept in recorded if isinstance(kept, CategoricalDistribution)), VARIANTS)
    count: dict[str, BaseDistribution] = {COUNT: IntDistribution(0, MOST_SLICES)}
    return {VARIANT: CategoricalDistribution(choices), **count} if variant in choices else count


def _is_undefined(attributes: Mapping[str, Any]) -> bool:
    """Whether an arm was recorded as failed for its objective; older databases have no attribute but the words."""
    return UNDEFINED in attributes or attributes.get(ERROR, "").endswith("is not a number.")
