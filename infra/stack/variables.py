"""Variables that point a shell, or the servers themselves, at the stack."""

from __future__ import annotations

from collections.abc import Mapping

from sweep.settings import DEFAULT, Settings, variables_of

LOGINS = (
    "AWS_PROFILE", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN", "MLFLOW_S3_UPLOAD_EXTRA_ARGS", "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN",
)  # fmt: skip
"""Variables of a user that would take precedence over the stack's and belong to no setting."""
OF_LAUNCHES = ("metrics_address", "notify_", "price_")
"""Settings that begin so say nothing about servers and stay the user's."""
VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_S3_ENDPOINT_URL", "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_USERNAME", "RAY_AUTH_MODE",
    *(name for key in Settings.model_fields if not key.startswith(OF_LAUNCHES) for name in variables_of(key)),
)  # fmt: skip
"""Names of those that `environment` sets."""


def pointing(places: Mapping[str, str], left: tuple[str, ...] = OF_LAUNCHES) -> dict[str, str | None]:
    """Variables that set these settings, and all others but `left` to their defaults, whatever a user's files say."""
    variables: dict[str, str | None] = {}
    for key in Settings.model_fields:
        if not key.startswith(left):
            own, *of_library = variables_of(key)
            variables |= {own: places.get(key, DEFAULT), **dict.fromkeys(of_library)}
            variables |= {name: places[key] for name in of_library[:1] if key in places}
    return variables
