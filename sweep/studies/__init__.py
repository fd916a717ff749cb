"""A study as its store and Optuna's database hold it: records, outcomes, drawn cells, progress and time left. No Ray.

`opened.open_study` opens a study for a command; `overview.Observer` shows its progress.
"""
