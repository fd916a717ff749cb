"""The demo cohort: simulated patients on real heads, made without any download."""

from trainers.data.demo.config import DemoCohortConfig
from trainers.data.demo.generate import make_demo_cohort

__all__ = ["DemoCohortConfig", "make_demo_cohort"]
