"""Artifacts for the store's tests, and ways to hurt them."""

from __future__ import annotations

from typing import Any

from sweep.store import Artifact, Cost, Store
from sweep.store.s3 import S3Backend

COST = Cost(requested=1.0, started=2.0, finished=5.0, peak_memory_bytes=10, host="here")


def publish(
    store: Store,
    key: str,
    content: str = "abc",
    *,
    stage: str = "gan",
    inputs: tuple[str, ...] = (),
    finished: float = 5.0,
    **identity: Any,
) -> Artifact:
    """An artifact of two files, one of them in a folder."""
    with store.writing(stage, key) as folder:
        (folder / "figures").mkdir()
        (folder / "figures" / "a.txt").write_text(content)
        (folder / "empty").write_text("")
        named = {f"input{number}": needed for number, needed in enumerate(inputs)}
        whole = {"stage": stage, "inputs": named, **identity}
        return store.publish(folder, stage, key, whole, COST.model_copy(update={"finished": finished}))


def found(store: Store, key: str, stage: str = "gan") -> Artifact:
    """The artifact of a key that must be there."""
    artifact = store.find(stage, key)
    assert artifact is not None
    return artifact


def stored_name(store: Store, artifact: Artifact, name: str) -> str:
    """Where the store itself keeps a file, relative to it."""
    made = artifact.manifest
    if isinstance(store.backend, S3Backend):
        return f"files/{made.stage}/{made.key}/{made.publication}/{name}"
    return f"{made.stage}/{made.key}/{name}"


def manifest_name(store: Store, stage: str, key: str) -> str:
    """Where the store keeps a manifest, relative to it."""
    return f"manifests/{stage}/{key}.json" if isinstance(store.backend, S3Backend) else f"{stage}/{key}/manifest.json"


def flip_bit(store: Store, name: str) -> None:
    """Change one bit of what the store holds, its length unchanged."""
    content = bytearray(store.backend.read(name) or b"")
    content[0] ^= 1
    store.backend.write(name, bytes(content))
