"""What an artifact says of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.config import Config

MANIFEST = "manifest.json"


class StoredFile(Config):
    """One file of an artifact or of a checkpoint."""

    size: int
    """Bytes."""
    sha256: str
    """Of the content, hexadecimal."""

    @staticmethod
    def of(content: bytes) -> StoredFile:
        """What describes this content."""
        return StoredFile(size=len(content), sha256=hashlib.sha256(content).hexdigest())

    @staticmethod
    def at(path: Path) -> StoredFile:
        """What describes the file at a path."""
        with path.open("rb") as file:
            return StoredFile(size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())

    def __str__(self) -> str:
        return f"{self.size:,} bytes with SHA-256 {self.sha256[:12]}…"


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

    @property
    def seconds(self) -> float:
        """Time of the work alone."""
        return self.finished - self.started


class Manifest(Config):
    """What makes files an artifact."""

    stage: str
    """Name of the stage."""
    key: str
    """Stage key."""
    publication: str = ""
    """Tells this making of the key from any other; empty where a store is older than this field."""
    identity: dict[str, Any]
    """What the key was made from: stage, version, config, inputs' keys."""
    cost: Cost
    """Time and memory of the making."""
    files: dict[str, StoredFile]
    """Relative path -> size and checksum."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def inputs(self) -> set[str]:
        """Stage keys that the artifact was made from."""
        return set(self.identity.get("inputs", {}).values())


def files_in(folder: Path) -> dict[str, StoredFile]:
    """Every file below a folder by its relative path."""
    return {
        path.relative_to(folder).as_posix(): StoredFile.at(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def first_difference(folder: Path, files: Mapping[str, StoredFile]) -> tuple[str, StoredFile | None] | None:
    """The first file in a folder that is not as told, and what it is (None: not there); None if all are."""
    for name, expected in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            # A wrong size needs no reading of what may be gigabytes.
            got = StoredFile.at(path) if size == expected.size else StoredFile(size=size, sha256="not computed")
        except (FileNotFoundError, NotADirectoryError):
            got = None
        if got != expected:
            return name, got
    return None
