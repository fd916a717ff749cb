"""Checkpoints on S3."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sweep.store.artifact import DamagedArtifact
from sweep.store.local_copy import local_copy
from sweep.store.manifest import Files, StoredFile, files_in, first_difference
from sweep.store.s3_bucket import S3Bucket
from trainers.config import Config

logger = logging.getLogger(__name__)


class _Checkpoint(Config):
    """A whole checkpoint."""

    files: Files
    """Relative path -> size and checksum."""

    @property
    def id(self) -> str:
        """From the content: a retried save uploads to the same place."""
        return StoredFile.of(self.model_dump_json().encode()).sha256[:16]


@dataclass(frozen=True)
class S3Checkpoints:
    """The checkpoints of one stage key: files below the checkpoint's id, then `newest.json`; the last but one stays."""

    bucket: S3Bucket
    key: str

    def load(self) -> Path | None:
        for name in ("newest", "previous"):
            checkpoint = self._read(name)
            if checkpoint is None:
                continue
            try:
                return self._fetched(checkpoint)
            except DamagedArtifact as error:
                logger.warning(f"The {name} checkpoint of {self.key[:12]} cannot be used: {error}")
        return None

    def save(self, write: Callable[[Path], None]) -> None:
        before, outdated = self._read("newest"), self._read("previous")
        with tempfile.TemporaryDirectory(prefix="metsweep-checkpoint-") as written:
            write(Path(written))
            fresh = _Checkpoint(files=files_in(Path(written)))
            self.bucket.upload(Path(written), f"{self._prefix}/{fresh.id}", fresh.files)
        if before is not None and before != fresh:
            self._write("previous", before)
        self._write("newest", fresh)
        if outdated is not None and outdated not in (before, fresh):
            self.bucket.remove_below(f"{self._prefix}/{outdated.id}")

    def clear(self) -> None:
        self.bucket.remove_below(self._prefix)

    @property
    def _prefix(self) -> str:
        return f"checkpoints/{self.key}"

    def _read(self, name: str) -> _Checkpoint | None:
        content = self.bucket.read(f"{self._prefix}/{name}.json")
        if content is None:
            return None
        try:
            return _Checkpoint.model_validate_json(content)
        except ValidationError:
            logger.warning(f"{self.bucket.uri}/{self._prefix}/{name}.json cannot be read.")
            return None

    def _write(self, name: str, checkpoint: _Checkpoint) -> None:
        self.bucket.write(f"{self._prefix}/{name}.json", checkpoint.model_dump_json().encode())

    def _fetched(self, checkpoint: _Checkpoint) -> Path:
        place = f"{self._prefix}/{checkpoint.id}"

        def check(folder: Path) -> None:
            if difference := first_difference(folder, checkpoint.files):
                name, got = difference
                raise DamagedArtifact(
                    f"{place}/{name} should be {checkpoint.files[name]}, got {got or 'no such file'}."
                )

        return local_copy(
            self.bucket.local / place,
            self.bucket.local / "tmp",
            lambda fresh: self.bucket.download(place, checkpoint.files, fresh),
            check,
        )
