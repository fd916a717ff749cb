"""Where a training loop keeps its checkpoints, and the form of it that is a folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Checkpoints(Protocol):
    """The checkpoints of one run, unique per content (a stage key): whoever runs the same content continues from them.

    A checkpoint is a folder of files that is whole or does not exist. Implementations are picklable; only rank 0 uses
    them.
    """

    def load(self) -> Path | None:
        """A folder of this machine with the newest whole checkpoint; None before the first. Not to be written to."""
        ...

    def save(self, write: Callable[[Path], None]) -> None:
        """Keep a checkpoint in place of the one before: `write` fills an empty folder.

        Killed at any moment, a run keeps this checkpoint or the one before.
        """
        ...

    def clear(self) -> None:
        """Remove every checkpoint of this run."""
        ...


@dataclass(frozen=True)
class FolderCheckpoints:
    """Checkpoints in a folder that every rank 0 to come reaches."""

    folder: Path

    def load(self) -> Path | None:
        return next((folder for folder in (self._latest, self._outdated) if folder.is_dir()), None)

    def save(self, write: Callable[[Path], None]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for half_written in self.folder.glob("fresh-*"):
            shutil.rmtree(half_written, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="fresh-", dir=self.folder))
        try:
            write(fresh)
            sync(fresh)
        except BaseException:
            # What is left of it would keep a full disk full.
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        # Killed between the two renames, the run still has `outdated` to continue from.
        shutil.rmtree(self._outdated, ignore_errors=True)
        if self._latest.is_dir():
            self._latest.rename(self._outdated)
        fresh.rename(self._latest)
        sync_entry(self.folder)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _latest(self) -> Path:
        return self.folder / "latest"

    @property
    def _outdated(self) -> Path:
        return self.folder / "outdated"


def sync(folder: Path) -> None:
    """Make everything in a folder survive a loss of power."""
    for path in (*folder.rglob("*"), folder):
        sync_entry(path)


def sync_entry(path: Path) -> None:
    """Make one file's content, or one folder's list of names, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
