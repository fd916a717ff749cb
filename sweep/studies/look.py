"""A study looked at again and again."""

from __future__ import annotations

from sweep.plan import Plan
from sweep.studies.opened import OpenedStudy
from sweep.studies.optuna_study import DrawnCells
from sweep.studies.overview import Observer, Overview


class Look:
    """One study, looked at again and again; its plan grows with the cells that its search draws."""

    def __init__(self, opened: OpenedStudy) -> None:
        self._opened = opened
        self._drawn = DrawnCells(opened.study, opened.settings.optuna_storage)
        self._observer = Observer(opened.study, opened.store)
        self.plan: Plan = opened.plan(())

    def now(self) -> Overview:
        """The study's present state."""
        drawn = self._drawn.read()
        if len(drawn) != self.plan.drawn:
            self.plan = self._opened.plan(drawn)
        return self._observer.look(self.plan, drawn)
