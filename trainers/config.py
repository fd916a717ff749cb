"""The base of every config class."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """Text that is one line.

    Raises:
        ValueError: it holds a character that breaks lines, steers a terminal or is half of a surrogate pair.
    """
    if found := _NO_TEXT.search(text):
        raise ValueError(f"holds {found[0]!a}; allowed: one line of text, without control characters")
    return text


Text = Annotated[str, Field(max_length=4096), AfterValidator(one_line)]
"""A name, a path or the like: one line that a terminal and every database show as it is."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What seeds a random generator; those of numpy and Optuna take 32 bits."""


class Config(BaseModel):
    """Frozen, keyword-only settings that refuse unknown keys; the sentence under a field documents it.

    A config lives beside the code that reads it, and its defaults are the paper's values: studies and fidelities only
    override. Numbers are finite, and bounded where they decide how much is held in memory or written.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )
