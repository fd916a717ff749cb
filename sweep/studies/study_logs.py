"""The logs of a study: every process writes a file of its own, and the store collects them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from fnmatch import fnmatch
from typing import Any

from sweep.logs import about, log_to
from sweep.repeating import repeating
from sweep.store import Store
from sweep.store.backend import Unavailable
from trainers.exceptions import StoreError

DELIVERED_EVERY_S = 30.0
MOST_FILES = 1000
"""Of a study; a launch removes older ones."""
FILES = "*.jsonl*"
READERS = 16
Line = dict[str, Any]


class StudyLogs:
    """The log files of one study: on this machine, and in the store where that is elsewhere (S3).

    A file is delivered whole, as S3 appends nothing, and by its own process, so that no two write the same object.

    Args:
        store: where the study's artifacts are.
        study: its name.
    """

    def __init__(self, store: Store, study: str) -> None:
        self._store, self._study = store, study
        self._prefix = f"logs/{study}"
        self._folder = store.local / "logs" / study
        self._in_store = store.uri == str(store.local)
        self._delivered = 0
        self._read: dict[str, int] = {}

    @contextmanager
    def written(self, **fields: str) -> Iterator[None]:
        """This process logs there within the block, and each line says the study and these fields.

        Args:
            fields: as `sweep.logs.about`.
        """
        self._file = log_to(self._folder)
        with about(study=self._study, **fields):
            if self._in_store:
                yield
                return
            try:
                with repeating(self._deliver, lambda: DELIVERED_EVERY_S):
                    yield
            finally:
                self._deliver()

    def tidy(self) -> None:
        """Remove all but the newest files, of every process that ever logged."""
        for name in sorted(self._sizes())[:-MOST_FILES]:
            self._store.remove(name)
            (self._folder / name.rpartition("/")[2]).unlink(missing_ok=True)

    def new_lines(self) -> list[Line]:
        """All lines that the last call did not return, oldest first.

        What is no JSON object with a time, as the last words of a killed process, is left out.
        """
        with ThreadPoolExecutor(READERS) as pool:
            texts = pool.map(self._unread, self._sizes().items())
        lines = [line for text in texts for line in map(_parsed, text.splitlines()) if line]
        return sorted(lines, key=lambda line: line["time"])

    def _sizes(self) -> dict[str, int]:
        """File -> bytes; of a file that is also on this machine those here, as it is ahead of what was delivered."""
        entries = self._store.patiently("list the logs", lambda: list(self._store.backend.entries(self._prefix)))
        sizes = {entry.name: entry.size for entry in entries if fnmatch(entry.name, FILES)}
        return sizes | {f"{self._prefix}/{file.name}": file.stat().st_size for file in self._folder.glob(FILES)}

    def _unread(self, file: tuple[str, int]) -> str:
        """The whole lines of a file that were not read yet."""
        name, size = file
        begin = self._read.get(name, 0)
        if size == begin:
            return ""
        here = self._folder / name.rpartition("/")[2]
        content = here.read_bytes() if here.exists() else (self._store.read_text(name) or "").encode()
        if len(content) < begin:  # a new file of that name was begun
            begin = 0
        content = content[begin:]
        whole = content[: content.rfind(b"\n") + 1]
        self._read[name] = begin + len(whole)
        return whole.decode(errors="replace")

    def _deliver(self) -> None:
        """Logs must not fail the work: what a store that is away does not take is delivered with the next lines."""
        with suppress(OSError, Unavailable, StoreError):
            content = self._file.read_bytes()
            if len(content) != self._delivered:
                self._store.backend.write(f"{self._prefix}/{self._file.name}", content)
                self._delivered = len(content)


def _parsed(text: str) -> Line | None:
    try:
        line = json.loads(text)
        datetime.fromisoformat(line["time"])
    except (ValueError, KeyError, TypeError):
        return None
    return line
