"""The choices of a space that its search has drawn from: some may be added, none changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces.space import Choice
from trainers.exceptions import ConfigError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from search_spaces.study import Study

_WIDEN = """
UPDATE trial_params SET distribution_json = :widened WHERE param_name = :key AND distribution_json <> :widened
AND trial_id IN (SELECT trial_id FROM trials JOIN studies USING (study_id) WHERE study_name = :study)
"""


def refuse_other_choices(study: Study, trials: Sequence[FrozenTrial]) -> None:
    """Refuse choices with which Optuna cannot continue; choices added behind the others and changed bounds are fine.

    Raises:
        ConfigError: names the key.
    """
    for trial in trials:
        for key, before in trial.distributions.items():
            if key not in study.space:
                continue
            now = study.space[key].distribution()
            former, present = (getattr(distribution, "choices", None) for distribution in (before, now))
            if former == present or (former and present and present[: len(former)] == former):
                continue
            raise ConfigError(
                f"Study {study.name}: space.{key} had {_in_words(former)} when trial {trial.number} was drawn and has "
                f"{_in_words(present)} now; Optuna cannot mix them. Restore the key, with new choices behind the "
                "former ones if wanted, or give the study another name; artifacts in the store are found again."
            )


def widen_choices(study: Study, storage: RDBStorage) -> None:
    """Record the present choices of a space in the cells that were drawn from it.

    Optuna draws from no other choices than those of earlier trials. It keeps a drawn value as its position among them,
    so what is added behind them changes no value. Must come before Optuna's study is opened, which keeps what it reads.
    """
    from optuna.distributions import distribution_to_json
    from sqlalchemy import text

    with storage.engine.begin() as connection:
        for key, drawn in study.space.items():
            if isinstance(drawn, Choice):
                widened = distribution_to_json(drawn.distribution())
                connection.execute(text(_WIDEN), {"widened": widened, "key": key, "study": study.name})


def _in_words(choices: Sequence[object] | None) -> str:
    return "a range" if choices is None else f"the choices {list(choices)}"
