"""The base of every config class."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Frozen, keyword-only settings that refuse unknown keys; the sentence under a field documents it.

    A config lives beside the code that reads it, and its defaults are the paper's values: studies and fidelities only
    override.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)
