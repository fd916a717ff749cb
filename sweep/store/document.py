"""Small documents of a store: written with a checksum, which is checked whenever they are read.

A flipped bit would go unnoticed otherwise, and change which artifacts `store gc` spares or with which options the next
launch runs. JSON holds its checksum under a key, YAML in its first line; documents of older stores have none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter
from pydantic_core import from_json

from trainers.documents import why
from trainers.exceptions import ConfigError, StoreError
from trainers.yaml_text import parse_yaml, to_document

T = TypeVar("T")

CHECKSUM = "checksum"
LOST = "its content does not match its checksum"
_FIRST_LINE = re.compile(rf"# {CHECKSUM}: ([0-9a-f]{{64}})\n")


class DamagedDocument(StoreError):  # noqa: N818
    """A document of the store differs from what was written."""


def written(name: str, values: Mapping[str, Any]) -> str:
    """A document of a name that ends in .json or .yaml, with its checksum."""
    if name.endswith(".json"):
        return json.dumps({CHECKSUM: checksum_of(values), **values}, allow_nan=False)
    text = to_document(dict(values))
    return f"# {CHECKSUM}: {hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def parse(name: str, content: bytes, model: TypeAdapter[T], where: str, remedy: str) -> T:
    """What a document holds.

    Args:
        name: ends in .json or .yaml.
        model: what the document must hold.
        where: its place in messages.
        remedy: a sentence: what to do about damage.

    Raises:
        DamagedDocument: it is empty, no JSON or YAML, does not fit `model`, or does not match its checksum.
    """
    try:
        if not content.strip():
            raise ValueError("it is empty")
        values = _of_json(content) if name.endswith(".json") else _of_yaml(content.decode())
        return model.validate_python(values)
    except (ValueError, ConfigError) as error:
        raise DamagedDocument(f"{where} is damaged: {why(error).rstrip('.')}. {remedy}") from None


def checksum_of(values: Mapping[str, Any]) -> str:
    """SHA-256 of all values except the checksum itself, hexadecimal."""
    checked = {name: value for name, value in values.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(checked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _of_json(content: bytes) -> Any:
    values = from_json(content)
    if isinstance(values, dict) and CHECKSUM in values:
        if values[CHECKSUM] != checksum_of(values):
            raise ValueError(LOST)
        del values[CHECKSUM]
    return values


def _of_yaml(text: str) -> Any:
    if match := _FIRST_LINE.match(text):
        text = text[match.end() :]
        if match[1] != hashlib.sha256(text.encode()).hexdigest():
            raise ValueError(LOST)
    values, _ = parse_yaml(text, lambda line: f"line {line}")
    return values
