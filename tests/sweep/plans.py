"""Plans of studies on their cohorts, without a store or a database."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.cell import Cell
from search_spaces.study import Study
from sweep.plan import Plan
from sweep.plan.plan import make_trial_maker, plan_with


def make_plan(study: Study, drawn: Sequence[tuple[int, Cell]] = ()) -> Plan:
    """A study's plan with these drawn cells: (Optuna's number, cell)."""
    return plan_with(make_trial_maker(study), study, drawn)
