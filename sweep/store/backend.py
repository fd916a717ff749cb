"""The contract of what a store keeps its artifacts in."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sweep.store.manifest import Manifest, StoredFile
from trainers.checkpoints import Checkpoints

RESERVED = frozenset(
    {"checkpoints", "damaged", "files", "leases", "locks", "logs", "manifests", "reports", "runs", "studies", "tmp"}
)
"""Names at the top of a store that are not stages."""


class Unavailable(Exception):  # noqa: N818
    """The place cannot be used now, but may be later: disk full or read-only, server away or overloaded.

    Never leaves the store: it is tried again, and becomes a StoreError when patience ends.
    """


@dataclass(frozen=True)
class Entry:
    """One stored file or object."""

    name: str
    size: int
    """Bytes."""
    modified: float
    """Unix seconds by the clock of the place."""


@dataclass(frozen=True)
class HalfWritten:
    """Files that belong to no artifact: their publisher was killed, or another one was first."""

    name: str
    """Folder or prefix that holds them and nothing else."""
    stage_and_key: tuple[str, str] | None
    """Of the artifact that they were to become, where the name tells it."""
    size: int
    """Bytes."""
    modified: float
    """Unix seconds of the newest file."""


class Backend(Protocol):
    """A place for documents, artifacts and checkpoints that many processes on many nodes use at once.

    Documents are small and have names with `/`. Artifacts are found by stage and key, and their files are told by their
    manifest. Implementations are picklable and open connections in the process that uses them.

    **Atomicity.** A reader sees a document as it was before a `write` or `swap` or as it is after, never between. Of
    all `swap`s that expect the same content exactly one succeeds. An artifact is there from the moment `publish` has
    stored its manifest, which it does last.

    **Durability.** What `write` and `publish` stored before they returned survives a loss of power.

    **Errors.** Every method raises `Unavailable` for what may pass by itself, having changed nothing or all, and
    StoreError at once for what a person must mend (permissions, credentials, a missing bucket); it names what to change
    and holds no secret. What is not there is None or an empty answer, not an error.

    **Retries.** Every method may be called again after `Unavailable`; a `swap` that had come through then answers True,
    provided that no two callers write the same content.
    """

    @property
    def uri(self) -> str:
        """Folder or URI, as a person writes it."""
        ...

    @property
    def local(self) -> Path:
        """Folder of this machine for logs, reports and copies."""
        ...

    def is_there(self) -> bool:
        """Whether anything was ever stored here."""
        ...

    def check_writable(self, needed_bytes: int) -> None:
        """Refuse a place that cannot be written, or is known to have less space left than needed."""
        ...

    def probe(self) -> None:
        """Write something and remove it again."""
        ...

    def read(self, name: str) -> bytes | None:
        """A document's content, or None."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a document."""
        ...

    def swap(self, name: str, content: bytes | None, expected: bytes | None) -> bool:
        """Replace a document if its content is the expected one; None means: not there. Need not be durable."""
        ...

    def remove(self, name: str) -> None:
        """Remove a document."""
        ...

    def remove_below(self, prefix: str) -> None:
        """Remove everything whose name begins with `prefix/`."""
        ...

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Everything whose name begins with `prefix/`, in no order; all without a prefix."""
        ...

    def stages(self) -> list[str]:
        """Names of the stages that may have artifacts, sorted."""
        ...

    def keys(self, stage: str) -> set[str]:
        """Keys of the artifacts of a stage that have a manifest, by one listing."""
        ...

    def manifest(self, stage: str, key: str) -> bytes | None:
        """Content of an artifact's manifest, or None."""
        ...

    def publish(self, folder: Path, manifest: Manifest) -> bool:
        """Store a folder's files durably, then the manifest; False if there is another manifest of the key already."""
        ...

    def copy_here(self, manifest: Manifest) -> Path:
        """A folder of this machine with the artifact's files, each as the manifest says.

        Raises:
            DamagedArtifact: one is not, in the place itself.
        """
        ...

    def read_file(self, manifest: Manifest, name: str) -> bytes | None:
        """Content of one file of an artifact, unverified, or None."""
        ...

    def describe_file(self, manifest: Manifest, name: str) -> StoredFile | None:
        """Size and checksum of one file as the place holds it now, or None."""
        ...

    def where(self, stage: str, key: str) -> str:
        """What a message calls the place of an artifact."""
        ...

    def set_aside(self, stage: str, key: str, manifest: bytes, reason: str) -> None:
        """Move the artifact with this manifest to `damaged/`, and the reason beside it; nothing if it is gone."""
        ...

    def remove_artifact(self, stage: str, key: str) -> None:
        """Remove an artifact, its manifest first."""
        ...

    def half_written(self, publications: Collection[str]) -> Iterator[HalfWritten]:
        """Files of artifacts that are not there, given the publications that are."""
        ...

    def checkpoints(self, key: str) -> Checkpoints:
        """The checkpoints of a stage key; `save` raises Unavailable as above."""
        ...
