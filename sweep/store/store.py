"""Content-addressed artifacts in a folder.

A stage writes its files into a temporary folder; `publish` adds a manifest with every file's size and SHA-256 and
renames the whole into place. Readers trust only the manifest, so a half-written artifact is never seen: it stays in
`tmp/`, where the next owner of the same key sweeps it up.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from trainers.config import Config
from trainers.exceptions import StoreError

MANIFEST = "manifest.json"


class StoredFile(Config):
    """One file of an artifact."""

    size: int
    """Bytes."""
    sha256: str
    """Of the content, hexadecimal."""


class Cost(Config):
    """What making an artifact took, on one machine."""

    requested: float
    """When a trial asked for the stage, unix seconds."""
    started: float
    """When its work began, unix seconds; what lies between is waiting for resources and starting processes."""
    finished: float
    """When its files were written, unix seconds."""
    peak_memory_bytes: int
    """Highest resident memory of the stage's process and its children."""
    host: str
    """Machine that ran it (rank 0)."""
    cpus: float = 0.0
    """CPU cores that it occupied on all workers together; 0 where an older version did not note them."""
    gpus: float = 0.0
    """GPUs that it occupied on all workers together."""

    @property
    def seconds(self) -> float:
        """Time of the work alone."""
        return self.finished - self.started

    @property
    def cpu_seconds(self) -> float:
        """CPU cores x seconds that it occupied."""
        return self.cpus * self.seconds

    @property
    def gpu_seconds(self) -> float:
        """GPUs x seconds that it occupied."""
        return self.gpus * self.seconds


class Manifest(Config):
    """What makes a folder an artifact."""

    stage: str
    """Name of the stage."""
    key: str
    """Stage key."""
    identity: dict[str, Any]
    """What the key was made from: stage, version, config, inputs' keys."""
    cost: Cost
    """Time and memory of the making."""
    files: dict[str, StoredFile]
    """Relative path -> size and checksum."""


@dataclass(frozen=True)
class Artifact:
    """A complete artifact."""

    path: Path
    manifest: Manifest


class Store:
    """Artifacts in the folder `root`; many processes and nodes that share it may use it at once.

    Layout: `<stage>/<key>/` complete artifacts, `tmp/` half-written ones, `locks/` single flight, `runs/` checkpoints
    and Ray's state of runs under way, `logs/`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def check_writable(self, needed_bytes: int = 0) -> None:
        """Refuse a folder that cannot be written, or whose disk has too little space left.

        Raises:
            StoreError: names the folder, the reason, and the variable to change.
        """
        folder = next(path for path in (self.root, *self.root.parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"metsweep")
        except OSError as error:
            raise StoreError(
                f"The store {self.root} cannot be written: {error.strerror}. "
                "Give its owner write permission, or set METSWEEP_STORE (--store) to another folder."
            ) from None
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            raise StoreError(
                f"The store {self.root} has {free / 1e6:,.0f} MB free, but {needed_bytes / 1e6:,.0f} MB are needed. "
                "Free some space, or set METSWEEP_STORE (--store) to another folder."
            )

    def find(self, stage: str, key: str) -> Artifact | None:
        """The complete artifact of a stage key, or None."""
        path = self.root / stage / key
        try:
            text = (path / MANIFEST).read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return Artifact(path, Manifest.model_validate_json(text))
        except ValidationError:
            raise StoreError(f"{path / MANIFEST} is damaged; delete the folder {path} and launch again.") from None

    def artifacts(self, stage: str) -> Iterator[Artifact]:
        """Every complete artifact of a stage, oldest first."""
        found = [self.find(stage, path.name) for path in (self.root / stage).glob("*")]
        yield from sorted((item for item in found if item), key=lambda item: item.manifest.cost.finished)

    @contextmanager
    def writing(self, stage: str, key: str) -> Iterator[Path]:
        """A temporary folder to write an artifact's files into; removed if the block raises."""
        parent = self.root / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        for leftover in parent.glob(f"{stage}-{key}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{stage}-{key}-", dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, stage: str, key: str, identity: dict[str, Any], cost: Cost) -> Artifact:
        """Make the written folder the artifact of `key`, at once and whole.

        Where two publish the same key, the first stays: the same key means the same content.
        """
        files = {
            str(path.relative_to(folder)): StoredFile(size=path.stat().st_size, sha256=_sha256(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        manifest = Manifest(stage=stage, key=key, identity=identity, cost=cost, files=files)
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
        target = self.root / stage / key
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, target)
        except OSError:
            if self.find(stage, key) is None:
                raise
        return Artifact(target, manifest)

    def single_flight(self, stage: str, key: str) -> FileLock:
        """Lock that one process at a time holds while it makes `key`; the system frees it when its holder dies."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        # Not bound to a thread: who waits for a lock and who frees it may differ.
        return FileLock(folder / f"{stage}-{key}.lock", thread_local=False)

    def runs(self, name: str) -> Path:
        """Folder for what runs under way keep (checkpoints, Ray Tune's state)."""
        return self.root / "runs" / name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
