"""Imports under pseudonyms: patients are called after a keyed hash, and their files are written anew under that name.

Paths, names and header text of the files stay behind. Whoever has the key can compute the names again, so it must lie
elsewhere.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image

from trainers.data.annotation import COLUMNS
from trainers.data.layouts.contract import Layout, Scan, Tree, Unwritten
from trainers.data.volume_file import UNREADABLE, file_digest, load_image
from trainers.documents import read_table
from trainers.exceptions import CohortError

ID_DIGITS = 12
FEWEST_SALT, MOST_SALT = 16, 4096
"""Bytes."""


def pseudonym(salt: bytes, *identity: str) -> str:
    """12 hexadecimal digits that only the salt leads back to the identity of a patient."""
    return hmac.digest(salt, "\0".join(identity).encode(), "sha256").hex()[:ID_DIGITS]


def pseudonymised(layout: Layout, salt: bytes) -> Layout:
    """The layout, with patients called P and their pseudonym, scans with a number after it."""

    def scans(tree: Tree) -> Iterator[Scan]:
        numbers: Counter[str] = Counter()
        for scan in layout.scans(tree):
            patient = f"P{pseudonym(salt, scan.patient_id)}"
            numbers[patient] += 1
            yield replace(
                scan,
                patient_id=patient,
                name=f"{patient}-{numbers[patient]}",
                volume=_anew(scan.volume),
                mask=_anew(scan.mask, mask=True),
                boxes=_boxes(scan.boxes) if isinstance(scan.boxes, Path) else scan.boxes,
                brain=_anew(scan.brain),
                notes=(),
            )

    return replace(layout, scans=scans, private=True)


@dataclass(frozen=True)
class WithoutText:
    """A NIfTI file, of which only voxels and affine are kept."""

    file: Path
    mask: bool = False
    """Whether almost all of its voxels may be alike."""

    def image(self) -> Nifti1Image:
        """With a header of its own; CohortError names the file itself if it cannot be used."""
        image = load_image(self.file, self.mask)
        file_digest(self.file)
        try:
            voxels = np.asarray(image.dataobj)
        except UNREADABLE as error:
            raise CohortError(f"{self.file}: its voxels cannot be read ({error}); is the file complete?") from error
        if voxels.dtype.kind == "f":  # float64 also where the header scales whole numbers
            voxels = voxels.astype(np.float32)
        return Nifti1Image(voxels, image.affine, dtype=voxels.dtype)


def _anew(volume: Path | Unwritten | None, mask: bool = False) -> Unwritten | None:
    return WithoutText(volume, mask) if isinstance(volume, Path) else volume


def _boxes(file: Path) -> pd.DataFrame:
    """The columns that count; others may hold text."""
    boxes = pd.DataFrame([cells for _, cells in read_table(file, CohortError, COLUMNS)], columns=COLUMNS)
    boxes.attrs["file"] = file
    return boxes


def source_of(content: Unwritten | pd.DataFrame) -> Path | None:
    """The file that was written anew as `content`, which errors name; None: it was made of others."""
    if isinstance(content, WithoutText):
        return content.file
    return content.attrs.get("file") if isinstance(content, pd.DataFrame) else None


def read_salt(file: Path, *data: Path) -> bytes:
    """The key in a file.

    Args:
        data: folders that are handed on, in which it must not lie.

    Raises:
        CohortError: it cannot be read, is shorter than FEWEST_SALT, or lies beside the data.
    """
    if beside := [folder for folder in data if file.resolve().is_relative_to(folder.resolve())]:
        raise CohortError(
            f"--salt-file {file}: lies in {beside[0]}; allowed: elsewhere, as whoever has data and key can find out "
            "who the patients are. Move it."
        )
    try:
        with file.open("rb") as opened:
            salt = opened.read(MOST_SALT)
    except OSError as error:
        raise CohortError(f"--salt-file {file}: cannot be read ({error.strerror}).") from error
    if len(salt) < FEWEST_SALT:
        raise CohortError(
            f"--salt-file {file}: holds {len(salt)} bytes; allowed: from {FEWEST_SALT}, else names can be guessed. "
            f"Make a file: head -c 32 /dev/urandom > {file}"
        )
    return salt
