"""Draws the cells of a search from Optuna's study, none twice while there are others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna

from sweep.plan import Plan, Trial, TrialMaker
from sweep.studies.optuna_study import (
    CONFIG,
    ERROR,
    RETRY_OF,
    TWIN_OF,
    common_config,
    drawn_cells,
    make_pruner,
    make_sampler,
)

if TYPE_CHECKING:
    from search_spaces.study import Study

MOST_TWINS = 20
"""Draws in a row that came out before; after so many the space is taken to be exhausted, and twins count as cells."""


@dataclass
class DrawnCell:
    """A drawn cell that is not told yet."""

    optuna: optuna.Trial
    trials: list[Trial]
    """One a seed; pruning looks at the first."""


class Drawing:
    """Asks Optuna's study for cells.

    Args:
        found: Optuna's study.
        study: ours; it draws.
        maker: makes the trials of a cell.
    """

    def __init__(self, found: optuna.Study, study: Study, maker: TrialMaker) -> None:
        self._optuna, self._study, self._maker = found, study, maker
        self._exhausted = False
        found.pruner = make_pruner(study.search, study.detector.steps)
        if study.search.draws:
            found.set_user_attr(CONFIG, common_config(study, maker.slices.key))

    @property
    def left(self) -> int:
        """Cells that are to be drawn still; the database is asked by searches alone."""
        search = self._study.search
        return search.left_to_draw(len(drawn_cells(self._optuna, self._study))) if search.draws else 0

    def draw(self, plan: Plan) -> DrawnCell:
        """Draw one cell; another one instead of what the plan holds already, for that would teach nothing."""
        known = {trial.evaluate.key: trial.number for trial in plan.trials if trial.number is not None}
        twins = 0
        while True:
            self._optuna.sampler = make_sampler(self._study.search, len(self._optuna.get_trials(deepcopy=False)))
            drawn = self._optuna.ask()
            trials = self._maker.trials(self._study.draw(drawn), drawn.number)
            twin = known.get(trials[0].evaluate.key)
            if twin is None or RETRY_OF in drawn.user_attrs or self._exhausted:
                return DrawnCell(drawn, trials)
            drawn.set_user_attr(TWIN_OF, twin)
            drawn.set_user_attr(ERROR, f"It has the values of trial {twin}, and is not run again.")
            self._optuna.tell(drawn, state=optuna.trial.TrialState.FAIL)
            twins += 1
            self._exhausted = twins == MOST_TWINS
