"""Where things are kept: from the environment, with defaults that need nothing started by hand."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Read once by the command line and passed down."""

    store: str
    """Folder or s3://bucket/prefix of the artifacts: METSWEEP_STORE, else `metsweep-store` in the working directory."""
    tracking_uri: str
    """MLflow: MLFLOW_TRACKING_URI, else MLflow's own default, `mlflow.db` (SQLite) in the working directory."""
    optuna_storage: str
    """Optuna's database: OPTUNA_STORAGE, else `optuna.db` (SQLite) in the working directory."""
    ray_address: str | None
    """Ray cluster: RAY_ADDRESS, else None for a cluster of this machine alone, started with the command."""

    @staticmethod
    def from_environment(store: str | None = None) -> Settings:
        """Settings of this process; an explicit `store` goes before METSWEEP_STORE."""
        uri = store or os.environ.get("METSWEEP_STORE") or "metsweep-store"
        return Settings(
            store=uri if "://" in uri else str(Path(uri).absolute()),
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd() / 'mlflow.db'}"),
            optuna_storage=os.environ.get("OPTUNA_STORAGE", f"sqlite:///{Path.cwd() / 'optuna.db'}"),
            ray_address=os.environ.get("RAY_ADDRESS") or None,
        )
