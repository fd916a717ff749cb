"""Contents of small objects that never change, kept on this machine so that no command fetches them twice."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path

LARGEST = 1 << 20
"""Bytes: larger contents are not kept."""
MOST_BYTES = 256 << 20
"""Of one folder; beyond that the contents go that were not asked for longest."""
USED_AGAIN_S = 24 * 3600.0
"""A use is noted once a day, not at each reading."""
TRIMMED_EVERY = 1000
"""Contents kept by one process between two looks at the folder's size."""
_DIGEST = 32


class Kept:
    """A folder of contents by names that say all that decides a content, so that none is ever out of date.

    Any number of processes may use it at once. What is damaged is ignored, and so is a folder that cannot be written:
    the caller then fetches the content again.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._added = 0

    def get(self, name: str) -> bytes | None:
        """The content of a name, or None."""
        path = self._path(name)
        try:
            stored = path.read_bytes()
            digest, content = stored[:_DIGEST], stored[_DIGEST:]
            if hashlib.sha256(content).digest() != digest:
                path.unlink()
                return None
            if time.time() - path.stat().st_mtime > USED_AGAIN_S:
                os.utime(path)
        except OSError:
            return None
        return content

    def put(self, name: str, content: bytes) -> None:
        """Keep the content of a name."""
        if len(content) > LARGEST:
            return
        path = self._path(name)
        fresh = path.with_name(uuid.uuid4().hex)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(hashlib.sha256(content).digest() + content)
            fresh.replace(path)
        except OSError:
            with suppress(OSError):
                fresh.unlink()
            return
        if self._added % TRIMMED_EVERY == 0:
            self._trim()
        self._added += 1

    def _trim(self) -> None:
        """Remove what was not used longest until a quarter of the room is free, if the folder has outgrown it."""
        with suppress(OSError):
            files = []
            for entry in os.scandir(self._folder):
                with suppress(FileNotFoundError):  # another process trims, too
                    status = entry.stat()
                    files.append((status.st_mtime, status.st_size, entry.path))
            size = sum(size for _, size, _ in files)
            if size <= self._most_bytes:
                return
            for _, of_file, path in sorted(files):
                if size <= 3 * self._most_bytes // 4:
                    return
                with suppress(FileNotFoundError):
                    os.unlink(path)
                size -= of_file

    def _path(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()
