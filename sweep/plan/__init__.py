"""A study as trials and the stages that they need."""

from sweep.plan.plan import Plan, Trial, make_plan, seconds_of_stages

__all__ = ["Plan", "Trial", "make_plan", "seconds_of_stages"]
