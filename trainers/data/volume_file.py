"""A volume's file: opened whole or refused, within limits of size and time.

A gzip file ends with a checksum that nibabel never reads, so a damaged file would give other voxels without a word.
Whatever is used here was read to its end once.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.funcs import as_closest_canonical
from nibabel.loadsave import load
from nibabel.nifti1 import Nifti1Extensions, Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError, HeaderTypeError

from trainers.exceptions import CohortError

MAX_VOXELS = 2**29
"""Of a volume: 1024 x 1024 x 512. A head at 0.5 mm has 0.1e9, and 4 bytes a voxel must fit into memory."""
BEYOND = 2**24
"""Bytes that a file may hold after its voxels."""
CHUNK = 2**20
UNREADABLE = (OSError, EOFError, ValueError, TypeError, OverflowError, zlib.error)
"""What nibabel, gzip and numpy raise on damaged files."""


class _Unread(Nifti1Extensions):
    """Extensions hold no voxels; nibabel would read whole what may be gigabytes in a small compressed file."""

    @classmethod
    def from_fileobj(cls, *_: object) -> _Unread:
        return cls()


class _Header1(Nifti1Header):
    exts_klass = _Unread


class _Header2(Nifti2Header):
    exts_klass = _Unread


class _Image1(Nifti1Image):
    header_class = _Header1


class _Image2(Nifti2Image):
    header_class = _Header2


def load_image(path: Path) -> Nifti1Image:
    """Open a volume, header only, and drop a single fourth axis.

    Raises:
        CohortError: no such file, not a NIfTI file, not one 3-D volume of one number a voxel, more voxels than sense
            allows, or no usable affine.
    """
    try:
        image = _opened(path)
        shape = tuple(int(length) for length in image.shape) if isinstance(image, Nifti1Image) else ()
    except (*UNREADABLE, ImageFileError, HeaderDataError, HeaderTypeError) as error:
        raise CohortError(f"{path}: cannot be read as a volume ({error}); allowed: NIfTI (.nii, .nii.gz).") from error
    if not isinstance(image, Nifti1Image) or not path.name.lower().endswith((".nii", ".nii.gz")):
        raise CohortError(f"{path}: is a {type(image).__name__}; allowed: a NIfTI volume in one file (.nii, .nii.gz).")
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,)):
        raise CohortError(f"{path}: its shape is {shape}; allowed: one 3-D volume. Keep one frame or channel of it.")
    if min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        raise CohortError(
            f"{path}: its header tells of {' x '.join(map(str, shape))} voxels; allowed: at least 1 along each axis, "
            f"and at most {MAX_VOXELS:,} in all. Is the header damaged?"
        )
    dtype = np.dtype(image.get_data_dtype())
    if dtype.kind not in "biuf":
        raise CohortError(
            f"{path}: its voxels are {dtype}; allowed: one real number a voxel. Colours or complex "
            "numbers are no T1 volume: keep one channel of it, or its magnitude."
        )
    affine = np.asarray(image.affine)
    with np.errstate(all="ignore"):
        if (
            not np.isfinite(affine).all()
            or not 1e-9 < abs(np.linalg.det(affine[:3, :3])) < np.inf
            or np.isnan(io_orientation(affine)).any()
        ):
            raise CohortError(
                f"{path}: its affine {affine.tolist()} cannot be inverted, so its orientation is unknown."
            )
    # nibabel's own squeeze_image would read all voxels.
    return Nifti1Image(_proxy(image).reshape(shape[:3]), affine, image.header) if len(shape) == 4 else image


def canonical_voxels(image: Nifti1Image, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The voxels of `path` in canonical order, X x Y x Z float32, and the affine of that order, 4 x 4.

    Raises:
        CohortError: the file is incomplete or damaged, or has voxels that are NaN or infinite.
    """
    file_digest(path)
    try:
        canonical = as_closest_canonical(image)
        with np.errstate(over="ignore", invalid="ignore"):
            volume = np.asarray(canonical.dataobj, dtype=np.float32)
    except UNREADABLE as error:
        raise CohortError(f"{path}: its voxels cannot be read ({error}); is the file complete?") from error
    broken = int(volume.size - np.isfinite(volume).sum())
    if broken:
        raise CohortError(f"{path}: {broken} of {volume.size} voxels are NaN or infinite; replace them, say by 0.")
    return volume, np.asarray(canonical.affine)


def file_digest(path: Path, volume: bool = True) -> bytes:
    """SHA-256 of a file. A volume was read to its end: it holds what its header tells of, and the checksum of a
    compressed one is right. A file that has not changed is read once a process.

    Raises:
        CohortError: as `load_image`, or the file is incomplete, damaged or far longer than its header tells.
    """
    try:
        status = path.stat()
        return _file_digest(path, volume, (status.st_size, status.st_mtime_ns, status.st_ino))
    except OSError as error:
        raise CohortError(f"{path}: cannot be read ({error.strerror or error}).") from error


@lru_cache(maxsize=4096)
def _file_digest(path: Path, volume: bool, stamp: tuple[int, ...]) -> bytes:
    if volume:
        _refuse_part(path, stamp[0])
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _refuse_part(path: Path, size: int) -> None:
    image = load_image(path)
    promised = int(_proxy(image).offset) + math.prod(image.shape) * np.dtype(image.get_data_dtype()).itemsize
    held = _uncompressed_size(path, promised + BEYOND) if path.name.lower().endswith(".gz") else size
    if held < promised:
        raise CohortError(
            f"{path}: holds {held:,} bytes, but its header tells of {promised:,}; is the file complete? Copy it anew."
        )
    if held > promised + BEYOND:
        raise CohortError(
            f"{path}: goes on for more than {BEYOND:,} bytes after the {promised:,} that its header tells of; is the "
            "header damaged? Write the volume anew."
        )


def _opened(path: Path) -> object:
    for image_class in (_Image1, _Image2):
        if image_class.path_maybe_image(path)[0]:
            return image_class.from_filename(path)
    return load(path)


def _proxy(image: Nifti1Image) -> ArrayProxy:
    """The voxels of an opened file, not read yet."""
    return cast(ArrayProxy, image.dataobj)


def _uncompressed_size(path: Path, most: int) -> int:
    """Bytes in a gzip file, whose checksums are compared; reading ends soon after `most`."""
    held = 0
    try:
        with gzip.open(path) as file:
            while held <= most and (chunk := file.read(CHUNK)):
                held += len(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CohortError(f"{path}: is damaged ({error}); copy it anew from where it came from.") from error
    return held
