"""A cache of what was read from cohorts and made of their volumes, so that no command does so again."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import Field, ValidationError

from trainers.config import Config
from trainers.data.results import Results
from trainers.data.volume_file import FileDigest, file_digest, stamp
from trainers.exceptions import SliceSetError

MOST = 100_000
"""Files and cohorts that are kept; the oldest go."""
CHECKSUM = 65
"""Bytes of the first line."""
Made = TypeVar("Made", bound=Config)
YOUNG_S = 2.0
"""A file that changed this recently may change once more within the same time stamp."""


class _Content(Config):
    """What the cache knows; a file is found by its path and stamp."""

    digests: dict[str, tuple[str, str]] = Field(default_factory=dict)
    """File -> `FileDigest`, hex."""
    checked: dict[str, float] = Field(default_factory=dict)
    """Checks that passed -> when."""


class CohortCache:
    """Digests of files, checks that passed, and results of volumes. A cache that is damaged or cannot be written is not
    used."""

    def __init__(self, folder: Path, verify: bool = False) -> None:
        """With `verify` every file is read again, and every check made again."""
        self.results = Results(folder / "volumes")
        self._file = folder / "cohorts.json"
        self._known = _Content() if verify else self._read()
        self._changed = False

    def digest(self, path: Path, volume: bool) -> FileDigest:
        """As `file_digest`, without reading a file that has not changed since it was last read."""
        try:
            stamped = stamp(path)
        except OSError:
            return file_digest(path, volume)  # its error says why
        key = f"{volume} {path.absolute()} {' '.join(map(str, stamped))}"
        if key not in self._known.digests:
            digest = file_digest(path, volume)
            if time.time() - max(stamped[-2:]) / 1e9 < YOUNG_S:
                return digest
            self._known.digests[key] = (digest.file.hex(), digest.content.hex())
            self._changed = True
        return FileDigest(*map(bytes.fromhex, self._known.digests[key]))

    def made(self, identity: list[object], model: type[Made], make: Callable[[], Made]) -> Made:
        """What `make` makes, once for the same identity (JSON-able) and program."""
        key = digest_of([*identity, version("metsweep")])
        kept = self.results.read(key, "made")
        if kept is not None:
            return model.model_validate_json(kept[0].tobytes())
        made = make()
        with suppress(SliceSetError):
            self.results.write(key, made=np.frombuffer(made.model_dump_json().encode(), np.uint8))
        return made

    def once(self, identity: list[object], check: Callable[[], object]) -> None:
        """Make a check, unless one of the same identity (JSON-able) passed with the same program."""
        key = digest_of([*identity, version("metsweep")])
        if key not in self._known.checked:
            check()
            self._known.checked[key] = time.time()
            self._changed = True

    def keep(self) -> None:
        """Write new entries beside those of other processes. Of two writers at once, one is lost."""
        if not self._changed:
            return
        others = self._read()
        kept = _Content(
            digests=dict(list((others.digests | self._known.digests).items())[-MOST:]),
            checked=dict(list((others.checked | self._known.checked).items())[-MOST:]),
        )
        content = kept.model_dump_json().encode()
        fresh = self._file.with_name(f"{self._file.name}.{uuid.uuid4().hex}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(_checksum(content) + content)
            os.replace(fresh, self._file)
        except OSError:
            with suppress(OSError):
                fresh.unlink()

    def _read(self) -> _Content:
        try:
            written = self._file.read_bytes()
            content = written[CHECKSUM:]
            return _Content.model_validate_json(content) if written[:CHECKSUM] == _checksum(content) else _Content()
        except (OSError, ValidationError):
            return _Content()


def digest_of(identity: object) -> str:
    """SHA-256 (hex) of something JSON-able."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _checksum(content: bytes) -> bytes:
    """A line before the content: a digest with a flipped bit would stand for another cohort."""
    return hashlib.sha256(content).hexdigest().encode() + b"\n"
