"""A keep/discard list that several reviewers fill: the CSV file that synthesis honours, whole after every decision."""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import cast

import numpy as np

from dashboards.reader_study.statistics import Figure, fleiss_kappa
from trainers.checkpoints import sync_entry
from trainers.documents import read_table
from trainers.exceptions import ConfigError
from trainers.gan.review import NEEDED, OPTIONAL, Decision, read_review

Row = tuple[str, str]
"""Source and reviewer of a decision; either may be empty."""


@dataclass(frozen=True)
class Agreement:
    """How far reviewers agree."""

    several: int
    """Slices on which two or more have decided."""
    unanimous: int
    """Those of them on which all have decided alike."""
    kappa: Figure
    """Fleiss', over the slices on which all of these reviewers have decided."""


class Decisions:
    """The decisions in a list; those on slices of one source may be changed, all others are kept as they are.

    Every change replaces the file at once and whole, and is on disk when it returns. What others have written into the
    file meanwhile is read before, and kept; so is the file's mode.

    Args:
        file: made with the first decision unless it exists.
        source: whose slices are reviewed, e.g. `cpggan-0123456789ab`.

    Raises:
        ConfigError: the file cannot be used; names file and line.
    """

    def __init__(self, file: Path, source: str) -> None:
        self.file = file = file.resolve()  # a link stays one; whoever follows it writes the same file
        self._source = source
        self._lock = Lock()
        self._rows: dict[str, dict[Row, Decision]] = {}
        self._undo: dict[str, list[tuple[str, Decision | None]]] = {}
        self._seen: tuple[int, ...] | None = None
        self._read()
        if self._seen is None and not file.absolute().parent.is_dir():
            raise ConfigError(f"{file} cannot be written: its folder does not exist. Make it first.")

    def of(self, slice_id: str) -> dict[str, Decision]:
        """Reviewer -> decision on a slice of the source, or of one that the list does not name."""
        rows = self._rows.get(slice_id, {})
        return {reviewer: decision for (source, reviewer), decision in rows.items() if source in ("", self._source)}

    def decide(self, reviewer: str, slice_id: str, decision: Decision) -> None:
        """Keep or discard a slice in the name of a reviewer.

        Raises:
            ConfigError: another attempt at the same image is kept, or others have written what is no list.
        """
        with self._lock:
            self._read_again()
            if decision == "keep":
                self._refuse_second(slice_id)
            before = self._rows.get(slice_id, {}).get((self._source, reviewer))
            self._set(reviewer, slice_id, decision)
            self._undo.setdefault(reviewer, []).append((slice_id, before))

    def undo(self, reviewer: str) -> str | None:
        """Take a reviewer's last decision back; returns its slice, or None without one since the server began."""
        with self._lock:
            if not self._undo.get(reviewer):
                return None
            self._read_again()
            slice_id, before = self._undo[reviewer][-1]
            self._set(reviewer, slice_id, before)
            self._undo[reviewer].pop()
            return slice_id

    def given(self, among: Container[str]) -> list[dict[str, Decision]]:
        """Reviewer -> decision, of each slice in `among` on which anyone has decided."""
        return [by for slice_id in list(self._rows) if slice_id in among and (by := self.of(slice_id))]

    def _read(self) -> None:
        """Read the file if it is another than when it was read or written last."""
        seen = _version(self.file)
        if seen in (None, self._seen):
            return
        read_review(self.file)
        rows: dict[str, dict[Row, Decision]] = {}
        for _, row in read_table(self.file, ConfigError, NEEDED, OPTIONAL):
            of_slice = rows.setdefault(row["slice_id"], {})
            of_slice[row.get("source", ""), row.get("reviewer", "")] = cast(Decision, row["decision"])
        self._rows, self._seen = rows, seen

    def _read_again(self) -> None:
        try:
            self._read()
        except ConfigError as error:
            raise ConfigError(f"{error} The decision is not saved.") from None

    def _refuse_second(self, slice_id: str) -> None:
        """Synthesis refuses a list that keeps two attempts at an image."""
        image = slice_id.rpartition("-")[0]
        others = (other for other in self._rows if other.rpartition("-")[0] == image and other != slice_id)
        if other := next((other for other in others if "keep" in self.of(other).values()), None):
            raise ConfigError(
                f"{other}, another attempt at the same image, is kept in {self.file.name}; only one can fill the "
                f"image. Remove its line, or discard {slice_id}."
            )

    def _set(self, reviewer: str, slice_id: str, decision: Decision | None) -> None:
        of_slice = {
            row: given for row, given in self._rows.get(slice_id, {}).items() if row != (self._source, reviewer)
        }
        if decision is not None:
            of_slice[self._source, reviewer] = decision
        changed = {**self._rows, slice_id: of_slice}
        self._write(changed)
        self._rows, self._seen = changed, _version(self.file)

    def _write(self, rows: dict[str, dict[Row, Decision]]) -> None:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow((*NEEDED, *OPTIONAL))
        for slice_id, of_slice in rows.items():
            table.writerows((slice_id, decision, *row) for row, decision in of_slice.items())
        try:
            _replace(self.file, text.getvalue())
        except OSError as error:
            raise ConfigError(
                f"{self.file} cannot be written ({error.strerror}), so the decision is not saved. Make room, or make "
                "the file writable, and decide again."
            ) from None


def _version(path: Path) -> tuple[int, ...] | None:
    """The same as long as nobody writes the file; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _replace(path: Path, text: str) -> None:
    """Make a file's content `text`, at once and on disk; its mode stays."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode or 0o666), "w") as file:
        file.write(text)
    if mode is not None:
        fresh.chmod(mode)
    sync_entry(fresh)
    fresh.replace(path)
    sync_entry(path.absolute().parent)


def agreement(given: Sequence[Mapping[str, Decision]]) -> Agreement:
    """How far the reviewers of some slices agree; of each slice reviewer -> decision."""
    several = [by for by in given if len(by) > 1]
    reviewers = {reviewer for by in several for reviewer in by}
    shared = [[by[reviewer] == "keep" for reviewer in sorted(by)] for by in several if len(by) == len(reviewers)]
    kappa = fleiss_kappa(np.array(shared, dtype=bool).reshape(len(shared), len(reviewers)))
    return Agreement(len(several), sum(len(set(by.values())) == 1 for by in several), kappa)
