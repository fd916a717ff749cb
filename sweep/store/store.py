"""Content-addressed artifacts, in a folder or on S3.

A stage writes its files into a temporary folder of its machine; `publish` stores them with every file's size and
SHA-256, and the manifest last. Readers trust only the manifest, so a half-written artifact is never seen.
"""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from sweep.redaction import without_secrets
from sweep.store.artifact import Artifact, damaged_manifest
from sweep.store.backend import READERS, Backend
from sweep.store.document import parse, written
from sweep.store.files import place, scratch
from sweep.store.folder import FolderBackend
from sweep.store.lease import Lease
from sweep.store.machine import Machine
from sweep.store.manifest import Cost, Manifest, files_in
from sweep.store.patience import PATIENCE_S, patiently
from trainers.checkpoints import Checkpoints
from trainers.documents import why
from trainers.exceptions import StoreError

T = TypeVar("T")


class Store:
    """Artifacts, leases, checkpoints and small documents at one place; many processes and nodes may use it at once.

    What the place refuses for a while (disk full or read-only, S3 away) is retried. Picklable; connections are opened
    in the process that uses them.

    Args:
        uri: folder, or `s3://bucket/prefix`. S3's endpoint and credentials come from the environment, as boto3 takes
            them.
        patience_s: how long a place may be away before a StoreError says so.
    """

    def __init__(self, uri: str | Path, patience_s: float = PATIENCE_S) -> None:
        self.backend = _backend(str(uri))
        self._patience_s = patience_s

    @property
    def uri(self) -> str:
        """Folder or URI."""
        return self.backend.uri

    @property
    def local(self) -> Path:
        """Folder of this machine for logs, reports and Ray's own state: the store's own, or for S3 a cache."""
        return self.backend.local

    def is_there(self) -> bool:
        """Whether anything was ever stored here."""
        return self.patiently("find the store", self.backend.is_there)

    def check_there(self) -> None:
        """Raise StoreError for a place where nothing was ever stored; names the variable to change."""
        if not self.is_there():
            raise StoreError(
                f"There is no store {self.uri}. Set METSWEEP_STORE (--store) to the one that the study was launched "
                "with; `metsweep launch` makes a new one."
            )

    def check_writable(self, needed_bytes: int = 0) -> None:
        """Raise StoreError for a place that cannot be written, or with too little space left; says what to change."""
        self.backend.check_writable(needed_bytes)

    def find(self, stage: str, key: str) -> Artifact | None:
        """The complete artifact of a stage key, or None; reads the manifest alone, DamagedArtifact if it is damaged."""
        content = self.patiently(f"find {stage} {key[:12]}", lambda: self.backend.manifest(stage, key))
        return None if content is None else self.opened(stage, key, content)

    def find_all(self, stage: str, keys: Collection[str] | None = None) -> dict[str, Artifact]:
        """Key -> complete artifact of a stage: of these keys or of all, by one listing; errors as in `find`."""
        contents = self.manifests(stage, keys)
        with ThreadPoolExecutor(READERS) as pool:
            opened = pool.map(lambda key: self.opened(stage, key, contents[key]), contents)
            return {key: artifact for key, artifact in zip(contents, opened, strict=True) if artifact is not None}

    def manifests(self, stage: str, keys: Collection[str] | None = None) -> dict[str, bytes]:
        """Key -> content of the manifests of a stage: of these keys or of all, by one listing."""
        return self.patiently(f"list the artifacts of {stage}", lambda: self.backend.manifests(stage, keys))

    def opened(self, stage: str, key: str, content: bytes) -> Artifact | None:
        """The artifact of a manifest; DamagedArtifact if that is damaged. A subclass may leave artifacts out."""
        try:
            return Artifact(Manifest.read(content, stage, key), self.backend, self._patience_s)
        except ValueError as error:
            raise damaged_manifest(stage, key, self.backend.where(stage, key), why(error)) from None

    def stages(self) -> list[str]:
        """Names of the stages that may have artifacts, sorted."""
        return self.patiently("list the stages", self.backend.stages)

    def keys(self, stage: str) -> set[str]:
        """Keys of the complete artifacts of a stage, by one listing."""
        return self.patiently(f"list the artifacts of {stage}", lambda: self.backend.keys(stage))

    def artifacts(self, stage: str) -> Iterator[Artifact]:
        """Every complete artifact of a stage, oldest first; DamagedArtifact as in `find`."""
        yield from sorted(self.find_all(stage).values(), key=lambda artifact: artifact.manifest.cost.finished)

    def writing(self, stage: str, key: str) -> AbstractContextManager[Path]:
        """A temporary folder of this machine to write an artifact's files into; removed when the block ends."""
        return scratch(stage, key)

    def publish(
        self, folder: Path, stage: str, key: str, identity: dict[str, Any], cost: Cost, machine: Machine | None = None
    ) -> Artifact:
        """Make the written files the artifact of `key`, at once and whole; StoreError if the store refuses.

        If two processes publish the same key, the first stays: the same key means the same content.
        """
        manifest = Manifest(
            stage=stage,
            key=key,
            publication=uuid.uuid4().hex,
            identity=identity,
            cost=cost,
            files=files_in(folder),
            machine=machine,
        ).sealed()
        if self.patiently(f"publish {stage} {key[:12]}", lambda: self.backend.publish(folder, manifest)):
            return Artifact(manifest, self.backend, self._patience_s)
        first = self.find(stage, key)
        if first is None:
            raise StoreError(
                f"Artifact {stage} {key} vanished while it was published. Launch again, which makes it again."
            )
        return first

    def set_aside(self, artifact: Artifact, reason: str) -> None:
        """Move a damaged artifact to `damaged/`, so that it is made again; nothing if it was moved already."""
        made = artifact.manifest
        current = self.find(made.stage, made.key)
        if current is not None and current.manifest.publication == made.publication:
            self.set_aside_key(made.stage, made.key, reason)

    def set_aside_key(self, stage: str, key: str, reason: str) -> None:
        """`set_aside` of the present artifact of a key, even if its manifest cannot be read."""

        def move() -> None:
            manifest = self.backend.manifest(stage, key)
            if manifest is not None:
                self.backend.set_aside(stage, key, manifest, reason)

        self.patiently(f"set aside {stage} {key[:12]}", move)

    def lease(self, stage: str, key: str) -> Lease:
        """The right to make a stage key, which one process at a time holds."""
        return Lease(self.backend, stage, key)

    def checkpoints(self, key: str) -> Checkpoints:
        """The checkpoints of a stage key."""
        return _PatientCheckpoints(self.backend.checkpoints(key), key, self._patience_s)

    def write_text(self, path: str, text: str) -> None:
        """Make or replace a small text, at once and whole."""
        self.patiently(f"write {path}", lambda: self.backend.write(path, text.encode()))

    def read_text(self, path: str) -> str | None:
        """Content of a text, or None."""
        content = self.patiently(f"read {path}", lambda: self.backend.read(path))
        return None if content is None else content.decode(errors="replace")

    def write_document(self, path: str, values: Mapping[str, Any]) -> None:
        """Make or replace a small document of a study, at once and whole: `read_document` reads it."""
        self.write_text(path, written(path, values))

    def read_document(self, path: str, model: TypeAdapter[T], remedy: str) -> T | None:
        """The content of a JSON or YAML document, or None if it does not exist.

        Args:
            path: its name, which ends in .json or .yaml.
            model: what the document must hold.
            remedy: a sentence: what to do about damage.

        Raises:
            DamagedDocument: it does not fit `model`, or differs from what was written.
        """
        content = self.patiently(f"read {path}", lambda: self.backend.read(path))
        return None if content is None else parse(path, content, model, f"{self.uri}/{path}", remedy)

    def change_document(
        self, path: str, model: TypeAdapter[T], remedy: str, change: Callable[[T | None], Mapping[str, Any] | None]
    ) -> None:
        """Make or replace a document by what it holds: changes by several processes at once are all kept.

        Args:
            path, model, remedy: as of `read_document`, whose errors are raised.
            change: what the document holds, or None -> what it is to hold, or None to leave it; may be called again.
        """

        def changed() -> bool:
            before = self.backend.read(path)
            held = None if before is None else parse(path, before, model, f"{self.uri}/{path}", remedy)
            values = change(held)
            return values is None or self.backend.swap(path, written(path, values).encode(), before, durable=True)

        while not self.patiently(f"change {path}", changed):
            pass

    def list(self, prefix: str) -> list[str]:
        """Names of all documents below a folder, sorted."""
        return self.patiently(f"list {prefix}", lambda: sorted(entry.name for entry in self.backend.entries(prefix)))

    def remove(self, path: str) -> None:
        """Remove a document; nothing if it does not exist."""
        self.patiently(f"remove {path}", lambda: self.backend.remove(path))

    def patiently(self, what: str, action: Callable[[], T]) -> T:
        """The result of `action` on the backend, retried while the store is away; StoreError if it stays away."""
        return patiently(what, action, self._patience_s)


@dataclass(frozen=True)
class _PatientCheckpoints:
    """Checkpoints whose store may be away for a while: written on this machine, then saved with retries."""

    inner: Checkpoints
    key: str
    patience_s: float

    def load(self) -> Path | None:
        return patiently(f"load the checkpoint of {self.key[:12]}", self.inner.load, self.patience_s)

    def save(self, write: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory(prefix="metsweep-checkpoint-") as written:
            write(Path(written))
            patiently(
                f"save the checkpoint of {self.key[:12]}",
                lambda: self.inner.save(lambda fresh: place(Path(written), fresh)),
                self.patience_s,
            )

    def clear(self) -> None:
        patiently(f"clear the checkpoints of {self.key[:12]}", self.inner.clear, self.patience_s)


def _backend(uri: str) -> Backend:
    if uri.startswith("s3://"):
        from sweep.store.s3 import S3Backend

        return S3Backend(uri)
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", uri):
        raise StoreError(
            f"The store {without_secrets(uri)} begins with {scheme[0]}; allowed: a folder, or s3://bucket/prefix. "
            "Set METSWEEP_STORE (--store) to one of them."
        )
    return FolderBackend(Path(uri).absolute())
