"""Says why a stage is not in the store, for the log."""

from __future__ import annotations

import itertools
from typing import Any

from sweep.stages import Stage
from sweep.store import Store

COMPARED = 50
"""Most artifacts of a stage that are compared with a missing artifact."""


def why_missed(stage: Stage, store: Store) -> str:
    """Why a stage is not in the store: the first part of its identity that differs from the nearest artifact."""
    wanted = _flatten(stage.identity)
    nearest: list[str] | None = None
    for key in itertools.islice(store.keys(stage.name), COMPARED):
        artifact = store.find(stage.name, key)
        if artifact is None:
            continue
        theirs = _flatten(artifact.manifest.identity)
        differing = [key for key in {**wanted, **theirs} if wanted.get(key) != theirs.get(key)]
        if nearest is None or len(differing) < len(nearest):
            nearest = differing
    return "first of its kind" if nearest is None else f"{nearest[0]} differs from the nearest artifact"


def _flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
