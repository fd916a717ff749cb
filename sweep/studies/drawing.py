"""Draws the cells of a search from Optuna's study, none twice until the space is exhausted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna

from sweep.plan import Plan, Trial, TrialMaker
from sweep.studies.continuing import CONFIG, best_cells_elsewhere, common_config
from sweep.studies.optuna_study import ERROR, RETRY_OF, TWIN_OF, drawn_cells, left_to_draw, make_pruner, make_sampler

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from search_spaces.study import Study

MOST_TWINS = 20
"""Repeated draws in a row; after so many the space counts as exhausted, and twins count as cells."""


@dataclass
class DrawnCell:
    """A drawn cell whose end is not reported to Optuna yet."""

    optuna: optuna.Trial
    trials: list[Trial]
    """One per seed; pruning considers the first."""


class Drawing:
    """Draws cells from Optuna's study, and has `maker` make their trials."""

    def __init__(self, optuna_study: optuna.Study, study: Study, maker: TrialMaker, storage: BaseStorage) -> None:
        self._optuna, self._study, self._maker = optuna_study, study, maker
        self._exhausted = False
        optuna_study.pruner = make_pruner(study.search, study.detector.steps)
        if study.search.draws:
            optuna_study.set_user_attr(CONFIG, common_config(study, maker.slices.key))
            begun = drawn_cells(optuna_study, study)
            elsewhere = [] if begun else best_cells_elsewhere(study, storage)
            for cell in (*study.search.first, *elsewhere):
                optuna_study.enqueue_trial(dict(cell), skip_if_exists=True)

    @property
    def left(self) -> int:
        """Cells still to be drawn; only a search reads the database."""
        draws = self._study.search.draws
        return left_to_draw(self._study, drawn_cells(self._optuna, self._study)) if draws else 0

    def draw(self, plan: Plan) -> DrawnCell:
        """Draw one cell; a cell that the plan holds already is replaced by another, as it would add no information."""
        numbers = {trial.evaluate.key: trial.number for trial in plan.trials if trial.number is not None}
        twins = 0
        while True:
            self._optuna.sampler = make_sampler(self._study.search, len(self._optuna.get_trials(deepcopy=False)))
            drawn = self._optuna.ask()
            trials = self._maker.trials(self._study.draw(drawn), drawn.number)
            twin = numbers.get(trials[0].evaluate.key)
            if twin is None or RETRY_OF in drawn.user_attrs or self._exhausted:
                return DrawnCell(drawn, trials)
            drawn.set_user_attr(TWIN_OF, twin)
            drawn.set_user_attr(ERROR, f"Not run: trial {twin} has the same values.")
            self._optuna.tell(drawn, state=optuna.trial.TrialState.FAIL)
            twins += 1
            self._exhausted = twins == MOST_TWINS
