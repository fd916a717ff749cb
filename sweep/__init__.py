"""Who runs when: stages and their store, the planner, the Ray Tune runner, tracking, registry, report and CLI."""
