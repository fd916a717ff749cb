"""Trained networks as MLflow models: `detector_model` and `generator_model` are what MLflow runs when it loads one."""
