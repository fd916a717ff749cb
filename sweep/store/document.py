"""Small documents of a store as they are read: checked whole, and refused in one line that says what to do."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from trainers.documents import shown
from trainers.exceptions import StoreError

T = TypeVar("T")


class DamagedDocument(StoreError):  # noqa: N818
    """A document of the store is not what was written there."""


def parse(content: bytes, model: TypeAdapter[T], where: str, remedy: str) -> T:
    """A document of JSON.

    Args:
        content: as the store holds it.
        model: what it must hold.
        where: what messages call it.
        remedy: a sentence: what to do if it is damaged.

    Raises:
        DamagedDocument: it is empty, no JSON, or does not hold that.
    """
    try:
        return model.validate_json(content)
    except ValidationError as error:
        raise damaged(where, why(error) if content.strip() else "it is empty", remedy) from None


def damaged(where: str, reason: str, remedy: str) -> DamagedDocument:
    """That a document cannot be used."""
    return DamagedDocument(f"{where} is damaged: {reason}. {remedy}")


def why(error: ValueError) -> str:
    """In a line what is wrong; of pydantic's many complaints the first."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    return " ".join(f"{f'{shown(key)}: ' if key else ''}{first['msg']}".split())
