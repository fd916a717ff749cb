"""Where things are kept: from the environment, with defaults that need nothing started by hand.

A variable that is empty counts as unset, and `~` is the home folder.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sweep.databases import split_sqlite
from sweep.redaction import without_secrets
from trainers.exceptions import ConfigError, StoreError

_SCHEME = re.compile(r"s3:|[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Begins a text that is meant as a URI, not as a folder."""


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
        uri = _checked(store or "", "--store") or _variable("METSWEEP_STORE") or "metsweep-store"
        in_s3 = uri.startswith("s3://")
        if _SCHEME.match(uri) and not in_s3:
            raise StoreError(
                f"METSWEEP_STORE (--store): {without_secrets(uri)} is not a place for a store; allowed: a folder, or "
                "s3://bucket/prefix."
            )
        return Settings(
            store=uri if in_s3 else str(Path(uri).absolute()),
            tracking_uri=_variable("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}",
            optuna_storage=_variable("OPTUNA_STORAGE") or f"sqlite:///{Path.cwd() / 'optuna.db'}",
            ray_address=_variable("RAY_ADDRESS"),
        )


def cache_folder() -> Path:
    """Folder for files that can be made again: METSWEEP_CACHE, else `~/.cache/metsweep`.

    Raises:
        ConfigError: METSWEEP_CACHE is not a folder.
    """
    return Path(_variable("METSWEEP_CACHE") or _at_home("~/.cache/metsweep", "METSWEEP_CACHE")).absolute()


def _variable(name: str) -> str | None:
    """A variable of the environment as `_checked` gives it."""
    return _checked(os.environ.get(name, ""), name)


def _checked(text: str, name: str) -> str | None:
    """A URI, folder or address without spaces around it and with `~` as the home folder; None if it is empty.

    Raises:
        ConfigError: the text is none of these.
    """
    value = text.strip()
    try:
        value.encode()
        urlsplit(value)
    except ValueError:  # whose text may hold a password
        raise ConfigError(f"{name} is not a folder, URI or address. Correct or unset it.") from None
    if not value.isprintable():
        raise ConfigError(f"{name} contains a control character; allowed: one line of text. Correct or unset it.")
    prefix, path = split_sqlite(value)
    return prefix + _at_home(path, name) if path.startswith("~") else value or None


def _at_home(path: str, name: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ConfigError(f"{name} is {path!r}: {error}. Write the whole path.") from None
