"""A study looked at again and again."""

from __future__ import annotations

from sweep.plan import Plan
from sweep.stages import EvaluateStage
from sweep.studies.opened import OpenedStudy
from sweep.studies.optuna_study import DrawnCells
from sweep.studies.overview import Observer, Overview


class WatchedStudy:
    """One study, looked at again and again; its plan grows with the cells that its search draws, or its race."""

    def __init__(self, opened: OpenedStudy) -> None:
        self._opened = opened
        self._drawn = DrawnCells(opened.study, opened.settings.optuna_storage)
        self._observer = Observer(opened.study, opened.store)
        self._evaluated = self._evaluations()
        self.plan: Plan = opened.plan(())

    def now(self) -> Overview:
        """The study's present state."""
        drawn = self._drawn.read()
        evaluated = self._evaluations()
        if len(drawn) != self.plan.drawn or evaluated != self._evaluated:
            self.plan, self._evaluated = self._opened.plan(drawn), evaluated
        return self._observer.look(self.plan, drawn)

    def _evaluations(self) -> set[str]:
        """Keys of what decides how far a race is."""
        return self._opened.store.keys(EvaluateStage.name) if self._opened.study.search.races else set()
