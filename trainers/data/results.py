"""What was made of single volumes, each under a key of its own: of a cohort that grew, only what is new is made."""

from __future__ import annotations

import os
import time
import uuid
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from trainers.exceptions import SliceSetError

KEPT_S = 30 * 86400.0
"""Results that nobody used for so long are removed."""
DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)
"""What numpy raises on a file that is not whole; each array has a checksum."""


class Results:
    """A folder with a file of named arrays per key; any number of processes may write and read at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str, *names: str) -> list[np.ndarray] | None:
        """The named arrays of a result; None if it is missing or damaged, which removes it."""
        file = self._file(key)
        try:
            with np.load(file, allow_pickle=False) as stored:
                arrays = [stored[name] for name in names]
            os.utime(file)
        except FileNotFoundError:
            return None
        except DAMAGED:
            with suppress(OSError):
                file.unlink()
            return None
        return arrays

    def writable(self) -> bool:
        """Whether the folder exists, made if needed, and can be written."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
        return os.access(self._folder, os.W_OK | os.X_OK)

    def write(self, key: str, **arrays: np.ndarray) -> None:
        """Keep a result; SliceSetError if the folder cannot be written."""
        fresh = self._folder / f"{uuid.uuid4().hex}.writing"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            os.replace(fresh, self._file(key))
        except OSError as error:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise SliceSetError(f"{self._folder} cannot be written: {error.strerror or error}.") from error

    def remove_old(self) -> None:
        """Remove what was not used for a month, and what killed processes left."""
        before = time.time() - KEPT_S
        with suppress(OSError):
            for file in self._folder.iterdir():
                if file.stat().st_mtime < before:
                    file.unlink()

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.npz"
