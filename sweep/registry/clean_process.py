"""The last gate: a model loads and predicts in a fresh process, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from sweep.redaction import without_secrets
from sweep.registry.gates import Gate
from sweep.tracking.mlflow_client import ENVIRONMENT

NAME = "loads and predicts"
MOST_SECONDS = 600.0
"""Longest time that loading a model and predicting once may take."""


def loads_gate(model_uri: str, tracking_uri: str) -> Gate:
    """Load a model in a process that has nothing but the registry and an installed metsweep, and predict once."""
    environment = {**ENVIRONMENT, **os.environ, "MLFLOW_TRACKING_URI": tracking_uri, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "sweep.models.gate", model_uri]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="metsweep-") as folder:
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=MOST_SECONDS
            )
        except subprocess.TimeoutExpired:
            return Gate(NAME, None, MOST_SECONDS, "fail", f"It did not predict within {MOST_SECONDS:g} s.")
    seconds = time.monotonic() - began
    if done.returncode == 0:
        return Gate(NAME, seconds, MOST_SECONDS, "pass", f"In a fresh process on the CPU, within {seconds:.1f} s.")
    last = without_secrets((done.stderr.strip() or "no message").splitlines()[-1], tracking_uri)
    again = f"MLFLOW_TRACKING_URI={without_secrets(tracking_uri)} {' '.join(command)}"
    return Gate(NAME, seconds, MOST_SECONDS, "fail", f"{last} To see more, run {again}")


def not_written_yet(tracking_uri: str) -> Gate:
    """What a dry run says of a model that only a promotion would write into MLflow."""
    where = without_secrets(tracking_uri)
    why = f"MLflow at {where} does not hold the model yet; without --dry-run it is written there first."
    return Gate(NAME, None, MOST_SECONDS, "cannot tell", why)
