"""Artifacts of tests: their files are written by hand, then published as a stage's are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.stages import Stage
from sweep.store import Cost, Store


def cost_of(seconds: float = 1.0, **on: float) -> Cost:
    """What an artifact took on this machine; `on` are cpus and gpus."""
    return Cost(requested=0, started=0, finished=seconds, peak_memory_bytes=1, host="here", **on)


@contextmanager
def publishing(store: Store, stage: Stage, cost: Cost | None = None) -> Iterator[Path]:
    """A folder for a stage's files, published when the block ends."""
    with store.writing(stage.name, stage.key) as folder:
        yield folder
        store.publish(folder, stage.name, stage.key, stage.identity, cost or cost_of())
