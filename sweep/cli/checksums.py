"""Results of stages by hand that other commands read again: written with checksums, and checked before they are used.

One flipped bit of weights or pixels makes other boxes, and no reader notices it. A folder of a store has its manifest;
a result by hand gets `SHA256SUMS`, which `sha256sum --check` reads, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sweep.store import Manifest
from sweep.store.manifest import MANIFEST, StoredFile, files_in
from trainers.documents import MIB, read_text
from trainers.exceptions import StoreError

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def write_checksums(folder: Path) -> None:
    """Write `SHA256SUMS` of all files in a result folder."""
    lines = [f"{file.sha256}  {name}\n" for name, file in files_in(folder).items()]
    (folder / SUMS).write_text("".join(lines))


def checked(folder: Path) -> Path:
    """The folder of a result, whose files are as they were written if it has a manifest or `SHA256SUMS`.

    Raises:
        StoreError: a file differs from what was written, or the checksums themselves are damaged.
    """
    made = Manifest.beside(folder)
    if made is not None:
        _refuse_other(folder, {name: file.sha256 for name, file in made.files.items()}, MANIFEST)
    elif (folder / SUMS).is_file():
        _refuse_other(folder, _read_sums(folder / SUMS), SUMS)
    return folder


def _refuse_other(folder: Path, sums: Mapping[str, str], source: str) -> None:
    for name, sha256 in sums.items():
        path = folder / name
        # Whoever needs a missing file reports it; pictures are not missed.
        if path.is_file() and StoredFile.at(path).sha256 != sha256:
            raise StoreError(
                f"{path} is damaged or was changed: its SHA-256 differs from the one in {source} beside it. Copy the "
                "whole folder again, or make it again."
            )


def _read_sums(file: Path) -> dict[str, str]:
    sums: dict[str, str] = {}
    for number, line in enumerate(read_text(file, StoreError, MIB).splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise StoreError(
                f"{file}, line {number}: is not a SHA-256, two spaces and the name of a file. Copy the whole folder "
                "again, or remove this file if the others are right."
            )
        sums[match[2]] = match[1]
    return sums
