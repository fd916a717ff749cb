"""A study as trials and the stages that they need."""

from sweep.plan.plan import Plan
from sweep.plan.trial import Trial, TrialMaker

__all__ = ["Plan", "Trial", "TrialMaker"]
