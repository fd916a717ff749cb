"""Says why a stage is not in the store, for the log."""

from __future__ import annotations

import itertools
from typing import Any

from sweep.stages import Stage
from sweep.store import Store

COMPARED = 50
"""Artifacts of a stage that are read to say why another one was missed."""


def why_missed(stage: Stage, store: Store) -> str:
    """Why a stage is not in the store: the first part of its identity that the nearest of a few has otherwise."""
    wanted = _flatten(stage.identity)
    nearest: list[str] | None = None
    for key in itertools.islice(store.keys(stage.name), COMPARED):
        artifact = store.find(stage.name, key)
        if artifact is None:
            continue
        there = _flatten(artifact.manifest.identity)
        differing = [key for key in {**wanted, **there} if wanted.get(key) != there.get(key)]
        if nearest is None or len(differing) < len(nearest):
            nearest = differing
    return "first of its kind" if nearest is None else f"{nearest[0]} differs from the nearest artifact"


def _flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
