"""The weights of a registered detector, on this machine."""

from __future__ import annotations

from pathlib import Path

from sweep.databases import will_be_made
from sweep.redaction import without_secrets
from sweep.tracking.mlflow_client import connect
from trainers.exceptions import TrackingError

CHAMPION = "models:/metsweep-detector@champion"


def champion_folder(model: str, tracking_uri: str) -> Path:
    """Local folder of a registered detector's weights and config, e.g. of CHAMPION.

    Raises:
        TrackingError: the registry cannot be reached, or does not hold the model.
    """
    if will_be_made(tracking_uri):
        raise TrackingError(_not_registered(model, tracking_uri))
    connect(tracking_uri)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        folder = Path(download_artifacts(artifact_uri=model))
    except MlflowException:
        raise TrackingError(_not_registered(model, tracking_uri)) from None
    weights = next(folder.rglob("model.pt"), None)
    if weights is None:
        raise TrackingError(f"{model} holds no detector: model.pt is missing. Allowed: a metsweep-detector.")
    return weights.parent


def _not_registered(model: str, tracking_uri: str) -> str:
    where = without_secrets(tracking_uri)
    if model == CHAMPION:
        return f"The registry at {where} has no champion yet: `metsweep promote STUDY` makes one."
    return f"The registry at {where} does not hold {model}. Allowed: models:/NAME@ALIAS or models:/NAME/VERSION."
