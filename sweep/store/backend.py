"""The contract of the places where a store keeps its artifacts."""

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


READERS = 16
"""Small objects read at once: an object store answers many requests as fast as one."""


class Unavailable(Exception):  # noqa: N818
    """The place cannot be used now, but may be later: disk full or read-only, server away or overloaded.

    Never leaves the store: the action is retried, and ends in a StoreError when patience does.
    """


@dataclass(frozen=True)
class Entry:
    """One stored file or object."""

    name: str
    size: int
    """Bytes."""
    modified: float
    """Unix seconds by the clock of the place."""
    tag: str = ""
    """Differs between two contents of one name (S3's ETag); empty where the place has none."""


@dataclass(frozen=True)
class HalfWritten:
    """Files that belong to no artifact: their publisher was killed, or another publisher was first."""

    name: str
    """Folder or prefix that holds them and nothing else."""
    stage_and_key: tuple[str, str] | None
    """Of the artifact that they were to become, where the name says so."""
    size: int
    """Bytes."""
    modified: float
    """Unix seconds of the newest file."""


class Backend(Protocol):
    """A place for documents, artifacts and checkpoints that many processes on many nodes use at once.

    Documents are small and have names with `/`. Artifacts are found by stage and key, and their manifest lists their
    files. Implementations are picklable and open connections in the process that uses them.

    **Atomicity.** A reader sees a document as it was before a `write` or `swap` or as it is after, never between. Of
    all `swap`s that expect the same content exactly one succeeds. An artifact exists from the moment `publish` has
    stored its manifest, which it does last.

    **Durability.** What `write` and `publish` stored before they returned survives a loss of power.

    **Errors.** Every method raises `Unavailable` for what may pass by itself, having changed nothing or all, and
    StoreError at once for what a person must fix (permissions, credentials, a missing bucket); the error names what to
    change and holds no secret. What does not exist is None or an empty answer, not an error.

    **Retries.** Every method may be called again after `Unavailable`; a `swap` that had succeeded then answers True,
    provided that no two callers write the same content.
    """

    @property
    def uri(self) -> str:
        """Folder or URI, as people write it."""
        ...

    @property
    def local(self) -> Path:
        """Folder of this machine for logs, reports and copies."""
        ...

    def is_there(self) -> bool:
        """Whether anything was ever stored here."""
        ...

    def check_writable(self, needed_bytes: int) -> None:
        """Refuse a place that cannot be written, or that has less space left than needed where that is known."""
        ...

    def probe(self) -> None:
        """Write a document and remove it again."""
        ...

    def read(self, name: str) -> bytes | None:
        """A document's content, or None."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a document."""
        ...

    def swap(self, name: str, content: bytes | None, expected: bytes | None, *, durable: bool = False) -> bool:
        """Replace a document if its content is the expected one; None stands for no document.

        Args:
            durable: whether the new content must be on disk when this returns.
        """
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

    def manifests(self, stage: str, keys: Collection[str] | None) -> dict[str, bytes]:
        """Key -> content of the manifests of a stage: of these keys, as far as they exist, or of all.

        The number of requests does not grow with the manifests that this machine has read before.
        """
        ...

    def publish(self, folder: Path, manifest: Manifest) -> bool:
        """Store a folder's files durably, then the manifest; False if the key has a manifest already."""
        ...

    def copy_here(self, manifest: Manifest) -> Path:
        """A folder of this machine with the artifact's files, each as the manifest says.

        Raises:
            DamagedArtifact: a file in the place itself is not.
        """
        ...

    def read_file(self, manifest: Manifest, name: str) -> bytes | None:
        """Content of one file of an artifact, unverified, or None."""
        ...

    def describe_file(self, manifest: Manifest, name: str) -> StoredFile | None:
        """Current size and checksum of one file in the place, or None."""
        ...

    def where(self, stage: str, key: str) -> str:
        """The place of an artifact in messages."""
        ...

    def set_aside(self, stage: str, key: str, manifest: bytes, reason: str) -> None:
        """Move the artifact with this manifest to `damaged/`, with the reason; nothing if the artifact is gone."""
        ...

    def remove_artifact(self, stage: str, key: str) -> None:
        """Remove an artifact, its manifest first."""
        ...

    def half_written(self, publications: Collection[str]) -> Iterator[HalfWritten]:
        """Files of artifacts that do not exist, given the publications that do."""
        ...

    def checkpoints(self, key: str) -> Checkpoints:
        """The checkpoints of a stage key; `save` raises Unavailable as above."""
        ...
