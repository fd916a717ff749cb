"""Passwords and keys of the stack: made once, kept in one file that only this user may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pydantic import Field, ValidationError

from infra.stack.service import StackError
from sweep.redaction import MASK, without_secrets
from trainers.config import Config


def _secret() -> str:
    return secrets.token_hex(24)


class Credentials(Config):
    """Of each server; random, 192 bits."""

    postgresql_admin: str = Field(default_factory=_secret)
    """Password of PostgreSQL's superuser, whom the stack alone uses."""
    postgresql: str = Field(default_factory=_secret)
    """Password of the role that owns the databases of MLflow and Optuna."""
    s3_admin_key: str = Field(default_factory=_secret)
    """Of the identity that makes the bucket."""
    s3_admin_secret: str = Field(default_factory=_secret)
    s3_key: str = Field(default_factory=_secret)
    """Of the identity that studies use: it reads and writes the one bucket."""
    s3_secret: str = Field(default_factory=_secret)
    mlflow: str = Field(default_factory=_secret)
    """Password of MLflow's user."""
    mlflow_session: str = Field(default_factory=_secret)
    """Signs the forms of MLflow's pages."""
    ray_token: str = Field(default_factory=_secret)

    def masked(self, text: str) -> str:
        """A text without any of them."""
        for secret in self.model_dump().values():
            text = text.replace(secret, MASK)
        return without_secrets(text)


def credentials_of(file: Path) -> Credentials:
    """Read the file, which is made first if it is missing.

    Raises:
        StackError: the file holds something else.
    """
    if not file.exists():
        write_private(file, Credentials().model_dump_json(indent=2))
    try:
        return Credentials.model_validate_json(file.read_text())
    except ValidationError:  # whose text shows values
        raise StackError(
            f"{file} is damaged. Restore it, or remove the stack and its data: metsweep stack down --delete."
        ) from None


def write_private(file: Path, text: str) -> None:
    """Write a file that only this user may read, at no moment anyone else."""
    fresh = file.with_suffix(".fresh")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
    fresh.rename(file)
