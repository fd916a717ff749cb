"""A store in a folder that many processes and nodes may share."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from sweep.store.artifact import refuse_damaged
from sweep.store.backend import RESERVED, Entry, HalfWritten, Unavailable
from sweep.store.files import place
from sweep.store.manifest import MANIFEST, Manifest, StoredFile
from trainers.checkpoints import FolderCheckpoints, sync, sync_entry
from trainers.exceptions import StoreError

PASSING = {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
"""Errors of a disk or a file server that may pass."""
GUARD_S = 10.0
"""How long a swap waits for another swap of the same document."""
TMP = "tmp"


@dataclass(frozen=True)
class FolderBackend:
    """The store's folder `root`; see Backend.

    `<stage>/<key>/` are artifacts, renamed whole from `tmp/`; documents and checkpoints lie under their names.
    """

    root: Path

    @property
    def uri(self) -> str:
        return str(self.root)

    @property
    def local(self) -> Path:
        return self.root

    def is_there(self) -> bool:
        with self._explained():
            return self.root.is_dir()

    def check_writable(self, needed_bytes: int) -> None:
        try:
            folder = next(path for path in (self.root, *self.root.parents) if path.exists())
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"metsweep")
                probe.flush()
        except OSError as error:
            raise StoreError(self._refusal(error)) from None
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            raise StoreError(
                f"The store {self.root} has {free / 1e6:,.0f} MB free, but {needed_bytes / 1e6:,.0f} MB are needed. "
                "Free some space, or set METSWEEP_STORE (--store) to another folder."
            )

    def probe(self) -> None:
        with self._explained():
            self._temporary(b"metsweep").unlink()

    def read(self, name: str) -> bytes | None:
        with self._explained():
            try:
                return (self.root / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, content: bytes) -> None:
        with self._explained():
            self._replace(name, content, durable=True)

    def swap(self, name: str, content: bytes | None, expected: bytes | None, *, durable: bool = False) -> bool:
        path = self.root / name
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            guard = path.with_name(f".{path.name}.lock")
            with FileLock(guard, timeout=GUARD_S):
                current = self.read(name)
                if current == content:
                    return True
                if current != expected:
                    return False
                if content is not None:
                    self._replace(name, content, durable=durable)
                else:
                    path.unlink()
                    # A process that has the lock file open notices that it lost its name, and opens the next one.
                    guard.unlink()
                return True

    def remove(self, name: str) -> None:
        with self._explained():
            (self.root / name).unlink(missing_ok=True)

    def remove_below(self, prefix: str) -> None:
        with self._explained(), suppress(FileNotFoundError):
            # Renamed first: after a kill in between, the rest counts as half-written and is never read.
            doomed = self._temporary_name()
            (self.root / prefix).rename(doomed)
            shutil.rmtree(doomed) if doomed.is_dir() else doomed.unlink()

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        for folder, _, names in os.walk(self.root / prefix):
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    status = path.stat()
                    yield Entry(path.relative_to(self.root).as_posix(), status.st_size, status.st_mtime)

    def stages(self) -> list[str]:
        with self._explained(), suppress(FileNotFoundError):
            return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir() and _is_stage(entry.name))
        return []

    def keys(self, stage: str) -> set[str]:
        with self._explained(), suppress(FileNotFoundError):
            return {entry.name for entry in os.scandir(self.root / stage) if os.path.exists(f"{entry.path}/{MANIFEST}")}
        return set()

    def manifest(self, stage: str, key: str) -> bytes | None:
        return self.read(f"{stage}/{key}/{MANIFEST}")

    def manifests(self, stage: str, keys: Collection[str] | None) -> dict[str, bytes]:
        contents = {key: self.manifest(stage, key) for key in (self.keys(stage) if keys is None else keys)}
        return {key: content for key, content in contents.items() if content is not None}

    def publish(self, folder: Path, manifest: Manifest) -> bool:
        target = self.root / manifest.stage / manifest.key
        with self._explained():
            fresh = self._temporary_name(f"{manifest.stage}-{manifest.key}")
            try:
                place(folder, fresh)
                (fresh / MANIFEST).write_text(manifest.model_dump_json(indent=2))
                sync(fresh)
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.is_dir() and not (target / MANIFEST).exists():  # no artifact, but in its place
                    target.rename(self._temporary_name(f"{manifest.stage}-{manifest.key}"))
                fresh.rename(target)
                sync_entry(target.parent)
            except OSError as error:
                # The rest would keep a full disk full.
                shutil.rmtree(fresh, ignore_errors=True)
                if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                    raise
                return False
        return True

    def copy_here(self, manifest: Manifest) -> Path:
        path = self.root / manifest.stage / manifest.key
        with self._explained():
            refuse_damaged(path, manifest, str(path))
        return path

    def read_file(self, manifest: Manifest, name: str) -> bytes | None:
        return self.read(f"{manifest.stage}/{manifest.key}/{name}")

    def describe_file(self, manifest: Manifest, name: str) -> StoredFile | None:
        with self._explained(), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return StoredFile.at(self.root / manifest.stage / manifest.key / name)
        return None

    def where(self, stage: str, key: str) -> str:
        return str(self.root / stage / key)

    def set_aside(self, stage: str, key: str, manifest: bytes, reason: str) -> None:
        if self.manifest(stage, key) != manifest:
            return
        with self._explained():
            target = self.root / "damaged" / stage / f"{key}-{uuid.uuid4().hex[:8]}"
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                (self.root / stage / key).rename(target)
                (target / "reason.txt").write_text(reason + "\n")

    def remove_artifact(self, stage: str, key: str) -> None:
        self.remove_below(f"{stage}/{key}")

    def half_written(self, publications: Collection[str]) -> Iterator[HalfWritten]:
        with suppress(FileNotFoundError):
            for path in (self.root / TMP).iterdir():
                files = [path, *path.rglob("*")]
                with suppress(FileNotFoundError):
                    statuses = [file.stat() for file in files]
                    stage, _, rest = path.name.partition("-")
                    key = rest.partition("-")[0]
                    yield HalfWritten(
                        path.relative_to(self.root).as_posix(),
                        (stage, key) if key else None,
                        sum(status.st_size for file, status in zip(files, statuses, strict=True) if file.is_file()),
                        max(status.st_mtime for status in statuses),
                    )

    def checkpoints(self, key: str) -> _FolderCheckpoints:
        return _FolderCheckpoints(self.root / "checkpoints" / key, self)

    def _replace(self, name: str, content: bytes, *, durable: bool) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._temporary(content)
        try:
            if durable:
                sync_entry(fresh)
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        if durable:
            sync_entry(path.parent)

    def _temporary(self, content: bytes) -> Path:
        path = self._temporary_name()
        try:
            path.write_bytes(content)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _temporary_name(self, prefix: str = "document") -> Path:
        """A free name on the store's own disk, from where files can be renamed into place."""
        (self.root / TMP).mkdir(parents=True, exist_ok=True)
        return self.root / TMP / f"{prefix}-{uuid.uuid4().hex[:12]}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Timeout:
            raise Unavailable(
                f"The store {self.root} does not answer: a lock has been held for {GUARD_S:.0f} s."
            ) from None
        except (PermissionError, NotADirectoryError) as error:
            raise StoreError(self._refusal(error)) from None
        except OSError as error:
            message = f"The store {self.root} cannot be used: {error.strerror or error}."
            if error.errno in PASSING:
                raise Unavailable(message) from None
            raise StoreError(f"{message} Check METSWEEP_STORE (--store).") from None

    def _refusal(self, error: OSError) -> str:
        return (
            f"The store {self.root} cannot be written: {error.strerror}. "
            "Give its owner write permission, or set METSWEEP_STORE (--store) to another folder."
        )


@dataclass(frozen=True)
class _FolderCheckpoints(FolderCheckpoints):
    backend: FolderBackend

    def save(self, write: Callable[[Path], None]) -> None:
        with self.backend._explained():
            super().save(write)


def _is_stage(name: str) -> bool:
    return name not in RESERVED and not name.startswith(".")
