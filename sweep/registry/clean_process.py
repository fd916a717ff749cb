"""The last gate: a model loads and predicts in a fresh process, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from sweep.redaction import without_secrets
from sweep.registry.gates import LOADS, Gate, Verdict
from sweep.tracking.mlflow_client import ENVIRONMENT

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
            return Gate(LOADS, None, MOST_SECONDS, Verdict.FAIL, f"No prediction within {MOST_SECONDS:g} s.")
    seconds = time.monotonic() - began
    if done.returncode == 0:
        why = f"In a fresh process on the CPU, within {seconds:.1f} s."
        return Gate(LOADS, seconds, MOST_SECONDS, Verdict.PASS, why)
    last = without_secrets((done.stderr.strip() or "no message").splitlines()[-1], tracking_uri)
    again = f"MLFLOW_TRACKING_URI={without_secrets(tracking_uri)} {' '.join(command)}"
    return Gate(LOADS, seconds, MOST_SECONDS, Verdict.FAIL, f"{last} To see more, run {again}")


def not_written_yet(tracking_uri: str) -> Gate:
    """The gate of a dry run for a model that only a promotion would write into MLflow."""
    where = without_secrets(tracking_uri)
    why = f"MLflow at {where} does not hold the model yet; a promotion without --dry-run writes it first."
    return Gate(LOADS, None, MOST_SECONDS, Verdict.UNDETERMINED, why)
