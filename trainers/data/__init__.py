"""Cohorts, the demo cohort, slice sets and conditioning images."""
