"""Reads back what metsweep keeps in tags of the registry, where anyone may write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from trainers.documents import why
from trainers.exceptions import TrackingError

T = TypeVar("T")


def read_tag(tags: Mapping[str, str], name: str, model: type[T]) -> T:
    """The value of a tag that is there.

    Raises:
        TrackingError: it is not JSON of that form.
    """
    try:
        return TypeAdapter(model).validate_json(tags[name])
    except ValidationError as error:
        raise TrackingError(
            f"The registry's tag {name} is not what metsweep wrote there: {why(error)}. Restore or remove it in MLflow."
        ) from None
