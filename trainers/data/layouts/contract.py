"""What a layout is: a way to find the scans of a folder by the names of its files; volumes stay where they are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
from nibabel.nifti1 import Nifti1Image

from trainers.data.slice_set import Kind, Split
from trainers.exceptions import CohortError

MOST_FILES = 2_000_000
"""Of a folder; Stanford's 156 patients as PNG slices are 120,000."""
NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_BRATS = re.compile(r"BraTS[-_]MET[-_](\d{5})[-_](\d{3})", re.IGNORECASE)
_UCSF = re.compile(r"(?<![A-Za-z0-9])(\d{6})[A-Z](?![A-Za-z0-9])")
_BIDS = re.compile(r"(sub-[A-Za-z0-9]+)(_|$)")


@dataclass(frozen=True)
class Tree:
    """The files of a folder, or one file."""

    root: Path
    files: tuple[Path, ...]
    """Absolute, sorted; without hidden files and the `._*` files of macOS."""

    @classmethod
    def of(cls, source: Path) -> Tree:
        """List `source`, links to folders included.

        Raises:
            CohortError: `source` does not exist, cannot be read, or holds more files than any data set.
        """
        root = source.absolute()
        if root.is_file():
            return cls(root.parent, (root,))
        if not root.is_dir():
            raise CohortError(f"There is no folder or file {source}. Correct the path.")
        files: list[Path] = []
        seen: set[tuple[int, int]] = set()
        for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_refuse):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:  # a link back
                subfolders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            files.extend(Path(folder, name) for name in names if not name.startswith("."))
            if len(files) > MOST_FILES:
                raise CohortError(f"{source}: holds more than {MOST_FILES:,} files; name the data set's own folder.")
        return cls(root, tuple(sorted(files)))

    def matching(self, pattern: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
        """Files whose whole name matches."""
        return ((file, match) for file in self.files if (match := pattern.fullmatch(file.name)))

    def within(self, file: Path) -> tuple[str, ...]:
        """The folders of a file, that of the tree's root first."""
        return (self.root.name, *file.relative_to(self.root).parts[:-1])


def _refuse(error: OSError) -> None:
    raise CohortError(f"{error.filename} cannot be read ({error.strerror}).") from error


class Unwritten(Protocol):
    """A volume that lies in files which cannot be used in place."""

    def image(self) -> Nifti1Image:
        """The volume; CohortError if its files cannot be read."""
        ...


@dataclass(frozen=True)
class Scan:
    """A volume of a patient, or what was found of one."""

    patient_id: str
    """The same for all scans of a person."""
    name: str
    """The scan's own name, unlike any other's."""
    volume: Path | Unwritten | None
    """None: the scan lacks its T1 and is left out."""
    kind: Kind = "tumour"
    mask: Path | Unwritten | None = None
    mask_labels: tuple[int, ...] | None = None
    boxes: pd.DataFrame | Path | None = None
    """As a boxes file holds them, or such a file. A tumour scan with neither mask nor boxes is left out."""
    brain: Path | Unwritten | None = None
    """Mask of the brain."""
    split: Split | None = None
    scanner: str = "unknown"
    stripped: bool | None = None
    left_out: str | None = None
    """Why the scan is left out, though it is complete."""
    notes: tuple[str, ...] = ()
    """For the user: how its files were chosen."""


@dataclass(frozen=True)
class Layout:
    """One way in which data sets are laid out."""

    name: str
    expects: str
    """How its files are called, for messages."""
    recognises: Callable[[Tree], bool]
    """Whether a tree is laid out so."""
    scans: Callable[[Tree], Iterable[Scan]]
    """The scans of a tree that is; CohortError for files that contradict each other."""
    remark: str | None = None
    """What the user must know about the scans."""
    private: bool = False
    """Its files name people: volumes are always written anew, and no path of a file is recorded."""


def grouped(named: Iterable[tuple[str, str, Path]]) -> dict[str, dict[str, Path]]:
    """Scan -> role -> file; CohortError if two files have one role in one scan."""
    files: dict[str, dict[str, Path]] = {}
    for scan, role, file in named:
        earlier = files.setdefault(scan, {}).setdefault(role, file)
        if earlier is not file:
            raise CohortError(
                f"{scan}: {earlier} and {file} are both its {role}; allowed: one of them. Move the other out of the "
                "folder (of labels that were corrected, keep the later)."
            )
    return files


def stem_of(file: Path) -> str:
    """The name of a NIfTI file without its ending."""
    return NIFTI.sub("", file.name)


def brats_scan(name: str) -> tuple[str, str] | None:
    """Patient and scan of a name such as BraTS-MET-00001-000, whose last digits count time points."""
    match = _BRATS.search(name)
    return match and (f"BraTS-MET-{match[1]}", f"BraTS-MET-{match[1]}-{match[2]}")


def patient_of(scan: str) -> str:
    """The patient of a scan: BraTS-MET-00001 of BraTS-MET-00001-000, 100101 of UCSF's 100101A or UCSF_100101A, sub-01
    of BIDS' sub-01_ses-1, else the scan's own name."""
    if brats := brats_scan(scan):
        return brats[0]
    match = _UCSF.search(scan) or _BIDS.match(scan)
    return match[1] if match else scan
