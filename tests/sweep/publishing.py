"""Artifacts of tests: their files are written by hand, then published as a stage's are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.stages import Stage
from sweep.store import MANIFEST, Artifact, Cost, Store
from sweep.store.machine import Machine


def cost_of(seconds: float = 1.0, **on: float) -> Cost:
    """What an artifact took; `on` are cpus and gpus."""
    return Cost(requested=0, started=0, finished=seconds, peak_memory_bytes=1, host="here", **on)


@contextmanager
def publishing(store: Store, stage: Stage, cost: Cost | None = None, machine: Machine | None = None) -> Iterator[Path]:
    """A folder for a stage's files, published when the block ends."""
    with store.writing(stage.name, stage.key) as folder:
        yield folder
        store.publish(folder, stage.name, stage.key, stage.identity, cost or cost_of(), machine)


def publish_empty(store: Store, stage: Stage, cost: Cost | None = None) -> None:
    """An artifact without files."""
    with publishing(store, stage, cost):
        pass


def publish_copy(store: Store, stage: Stage, of: Artifact) -> None:
    """The files of another artifact under the key of a stage."""
    with publishing(store, stage, of.manifest.cost) as folder:
        shutil.copytree(of.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
