"""Says why a stage is not in the store, for the log."""

from __future__ import annotations

import itertools

from sweep.stages import Stage
from sweep.store import Store
from sweep.studies.records import changes

COMPARED = 50
"""Most artifacts of a stage that are compared with a missing artifact."""


def why_missed(stage: Stage, store: Store) -> str:
    """Why a stage is not in the store: the first part of its identity that differs from the nearest artifact."""
    artifacts = (store.find(stage.name, key) for key in itertools.islice(store.keys(stage.name), COMPARED))
    differing = [list(changes(stage.identity, artifact.manifest.identity)) for artifact in artifacts if artifact]
    return f"{min(differing, key=len)[0]} differs from the nearest artifact" if differing else "first of its kind"
