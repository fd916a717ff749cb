"""The experiment of a study in MLflow, and where it keeps its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.databases import sqlite_file
from sweep.redaction import without_secrets
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient


def find_experiment(client: MlflowClient, tracking_uri: str, study: str, store_uri: str) -> str:
    """Id of a study's experiment, which is created if needed.

    Raises:
        TrackingError: the experiment was deleted.
    """
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return client.create_experiment(study, artifact_location=_artifact_location(tracking_uri, study, store_uri))
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"The MLflow experiment {study!r} at {without_secrets(tracking_uri)} was deleted. Restore it (`mlflow "
            f"experiments restore -x {experiment.experiment_id}`), or give the study another name."
        )
    return experiment.experiment_id


def _artifact_location(tracking_uri: str, study: str, store_uri: str) -> str | None:
    """None where a server decides; else beside the store in S3, or beside the SQLite file."""
    if tracking_uri.startswith("http"):
        return None
    if store_uri.startswith("s3://"):
        return f"{store_uri}/mlflow/{study}"
    # MLflow's default is the working directory of the process that creates the experiment.
    file = sqlite_file(tracking_uri)
    return file and str(file.parent / "mlruns" / study)
