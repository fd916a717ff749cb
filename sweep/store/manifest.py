"""The manifest of an artifact: its files, what it was made from, and what that took."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import to_json

from sweep.store.document import LOST, checksum_of
from sweep.store.machine import Machine
from trainers.config import Config
from trainers.documents import why
from trainers.exceptions import StoreError

MANIFEST = "manifest.json"
OF_EVERY_STAGE = ("stage", "version", "config", "inputs")
"""Parts of every identity; a stage may add more."""


class StoredFile(Config):
    """One file of an artifact or of a checkpoint."""

    size: int
    """Bytes."""
    sha256: str
    """Of the content, hexadecimal."""

    @staticmethod
    def of(content: bytes) -> StoredFile:
        """Size and checksum of this content."""
        return StoredFile(size=len(content), sha256=hashlib.sha256(content).hexdigest())

    @staticmethod
    def at(path: Path) -> StoredFile:
        """Size and checksum of the file at a path."""
        with path.open("rb") as file:
            return StoredFile(size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())

    def __str__(self) -> str:
        return f"{self.size:,} bytes with SHA-256 {self.sha256[:12]}…"


def _stay_below(files: dict[str, StoredFile]) -> dict[str, StoredFile]:
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
            raise ValueError(f"the file {name!r} lies outside its folder")
    return files


Files = Annotated[dict[str, StoredFile], AfterValidator(_stay_below)]
"""Relative path -> size and checksum, of files in one folder."""


class Cost(Config):
    """Time and resources that making an artifact took."""

    requested: float
    """When a trial asked for the stage, unix seconds."""
    started: float
    """When its work began, unix seconds; in between lies waiting for resources and starting processes."""
    finished: float
    """When its files were written, unix seconds."""
    peak_memory_bytes: int
    """Highest resident memory of the stage's process and its children."""
    host: str
    """Machine that ran it (rank 0)."""
    cpus: float = 0.0
    """CPU cores occupied by all workers together; 0 where an older version did not record them."""
    gpus: float = 0.0
    """GPUs occupied by all workers together."""

    @property
    def seconds(self) -> float:
        """Time of the work alone."""
        return self.finished - self.started

    @property
    def cpu_seconds(self) -> float:
        """CPU cores x seconds that the stage occupied."""
        return self.cpus * self.seconds

    @property
    def gpu_seconds(self) -> float:
        """GPUs x seconds that the stage occupied."""
        return self.gpus * self.seconds


class Manifest(Config):
    """Makes files an artifact."""

    stage: str
    """Name of the stage."""
    key: str
    """Stage key."""
    publication: str = ""
    """Unique per making of the key; empty in stores older than this field."""
    identity: dict[str, Any]
    """Decides the key: stage, version, config, inputs' keys."""
    cost: Cost
    """Time and memory of the making."""
    files: Files
    """Relative path -> size and checksum."""
    machine: Machine | None = None
    """The machine that made it; None in stores older than this field."""
    checksum: str = ""
    """SHA-256 of all other fields; empty in stores older than this field."""

    @staticmethod
    def read(content: bytes, stage: str, key: str) -> Manifest:
        """The manifest at the place of a stage key; ValueError says how it is damaged, or another artifact's."""
        manifest = Manifest.model_validate_json(content)
        if (manifest.stage, manifest.key) != (stage, key):
            raise ValueError(f"it is of {manifest.stage} {manifest.key[:12]}")
        if not manifest.checksum and manifest.machine is not None:
            raise ValueError("it has lost its checksum")
        # Of the written content, not of today's fields: fields added later must not change the checksum.
        if manifest.checksum and manifest.checksum != checksum_of(json.loads(content)):
            raise ValueError(LOST)
        return manifest

    @staticmethod
    def beside(folder: Path) -> Manifest | None:
        """The manifest among an artifact's files, wherever their folder is; None if the folder has none.

        Raises:
            StoreError: the manifest is damaged.
        """
        path = folder / MANIFEST
        if not path.is_file():
            return None
        try:
            content = path.read_bytes()
            manifest = Manifest.model_validate_json(content)
            if problem := Manifest.read(content, manifest.stage, manifest.key).problem:
                raise ValueError(problem)
        except ValueError as error:
            raise StoreError(f"{path} is damaged: {why(error)}. Copy the whole folder here again.") from None
        return manifest

    def sealed(self) -> Manifest:
        """The same with its checksum."""
        return self.model_copy(update={"checksum": checksum_of(self.model_dump(mode="json"))})

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def inputs(self) -> set[str]:
        """Stage keys that the artifact was made from."""
        return set(self.identity.get("inputs", {}).values())

    @property
    def problem(self) -> str | None:
        """A statement of the manifest that cannot be true; None if there is none."""
        if not self.files:
            return "it names no files"
        try:
            made_from = key_of(self.identity)
        except (KeyError, AttributeError):
            return "its identity lacks parts that every key is made from"
        if made_from != self.key:
            return f"its identity makes the key {made_from[:12]}"
        return None


def stage_key(name: str, version: int, config: str, inputs: str, extra: Mapping[str, Any]) -> str:
    """SHA-256 that identifies a stage's artifact, hexadecimal.

    Args:
        config: as JSON, in the order of its fields.
        inputs: names and keys of what the stage reads, as `inputs_text` writes them.
        extra: what else decides the artifact.
    """
    more = f" {to_json(extra).decode()}" if extra else ""
    return hashlib.sha256(f"{name} {version} {config} {inputs}{more}".encode()).hexdigest()


def inputs_text(keys: Mapping[str, str]) -> str:
    """Names and keys of what a stage reads."""
    return " ".join([f"{name}={key}" for name, key in keys.items()])


def key_of(identity: Mapping[str, Any]) -> str:
    """The stage key that an identity makes; KeyError for a part that is missing."""
    name, version, config, inputs = (identity[part] for part in OF_EVERY_STAGE)
    extra = {part: value for part, value in identity.items() if part not in OF_EVERY_STAGE}
    return stage_key(name, version, to_json(config, inf_nan_mode="null").decode(), inputs_text(inputs), extra)


def files_in(folder: Path) -> dict[str, StoredFile]:
    """Every file below a folder by its relative path."""
    return {
        path.relative_to(folder).as_posix(): StoredFile.at(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def first_difference(folder: Path, files: Mapping[str, StoredFile]) -> tuple[str, StoredFile | None] | None:
    """The first file in a folder that differs from `files`, with its description (None: missing); None if all agree."""
    for name, expected in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            # A wrong size suffices; the file may have gigabytes.
            got = StoredFile.at(path) if size == expected.size else StoredFile(size=size, sha256="not computed")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            got = None
        if got != expected:
            return name, got
    return None
