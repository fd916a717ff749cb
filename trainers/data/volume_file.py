"""A volume's file: opened whole or refused, within limits of size and time.

A gzip file ends with a checksum that nibabel never reads, so a damaged file would silently give other voxels.
Whatever is used here was read to its end once. nibabel also repairs headers that contradict themselves, in one of
several ways, and takes voxels from wherever they say: such files are refused.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import math
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self, cast

import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.funcs import as_closest_canonical
from nibabel.loadsave import load
from nibabel.nifti1 import Nifti1Extensions, Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.volumeutils import apply_read_scaling

from trainers.data.orientation import contradiction, invertible
from trainers.exceptions import CohortError

MAX_VOXELS = 2**29
"""Of a volume: 1024 x 1024 x 512. A head at 0.5 mm has 0.1e9, and 4 bytes per voxel must fit into memory."""
FEW_VOXELS = 2**24
MOST_VOXELS_A_BYTE = 50
"""Of a compressed volume that has more than FEW_VOXELS: a head between much air has about 10. Time and memory go with
the voxels, and a megabyte can hold a billion zeros; a mask is that empty, but has the grid of its volume."""
PADDING = 512
"""Fewer bytes than this may follow the voxels, all 0: what fills up a block."""
CODES = range(6)
"""Of NIfTI, for where an affine comes from; 0: from nowhere."""
CHUNK = 2**20
UNREADABLE = (OSError, EOFError, ValueError, TypeError, OverflowError, zlib.error)
"""What nibabel, gzip and numpy raise on damaged files."""


_UNHEARD = logging.Logger("nibabel", logging.CRITICAL + 1)


class _Unread(Nifti1Extensions):
    """Extensions hold no voxels; nibabel would read whole what may be gigabytes in a small compressed file."""

    @classmethod
    def from_fileobj(cls, *_: object) -> _Unread:
        return cls()


class _Consistent(Nifti1Header):
    """Refuses what nibabel would repair or believe."""

    exts_klass = _Unread

    @classmethod
    def from_fileobj(cls, fileobj: BinaryIO, endianness: str | None = None, check: bool = True) -> Self:
        header = super().from_fileobj(fileobj, endianness, check=False)
        if check:
            header._check()
        return header

    def check_fix(self, logger: logging.Logger | None = None, error_level: int | None = None) -> None:
        """Without nibabel's own lines on stderr about what it repairs."""
        super().check_fix(logger or _UNHEARD, error_level)

    def _check(self) -> None:
        names = ("vox_offset", "bitpix", "qform_code", "sform_code", "scl_slope", "scl_inter")
        values = {name: float(self[name]) for name in names}
        sizes = np.array(self["pixdim"][1:4], np.float64)
        self.check_fix()
        if not values["vox_offset"] >= self.single_vox_offset:
            raise HeaderDataError(
                f"vox_offset is {values['vox_offset']:g}, within the header; allowed: from {self.single_vox_offset}"
            )
        bits = 8 * self.get_data_dtype().itemsize
        if values["bitpix"] != bits:
            raise HeaderDataError(
                f"bitpix is {values['bitpix']:g}, but its datatype, {self.get_data_dtype()}, has {bits} bits per voxel"
            )
        for name in ("scl_slope", "scl_inter") if values["scl_slope"] else ():  # a slope of 0: nothing is scaled
            if not math.isfinite(values[name]):
                raise HeaderDataError(f"{name}, which scales its voxels, is {values[name]:g}; allowed: a finite number")
        for name in ("qform_code", "sform_code"):
            if values[name] not in CODES:
                raise HeaderDataError(f"{name} is {values[name]:g}; allowed: {CODES[0]} to {CODES[-1]}")
        if not values["sform_code"] and not min(sizes) > 0:
            raise HeaderDataError(f"pixdim, which its qform uses, is {sizes.tolist()}; allowed: more than 0")
        if problem := contradiction(self, sizes):
            raise HeaderDataError(problem)


class _Header1(_Consistent):
    pass


class _Header2(_Consistent, Nifti2Header):
    pass


class _Image1(Nifti1Image):
    header_class = _Header1


class _Image2(Nifti2Image):
    header_class = _Header2


def load_image(path: Path, mask: bool = False) -> Nifti1Image:
    """Open a volume, header only, and drop a single fourth axis.

    Args:
        mask: whether almost all of it may be alike.

    Raises:
        CohortError: no such file, not a NIfTI file, a header that contradicts itself, not one 3-D volume of one number
            per voxel, more voxels than sense allows, or no usable affine.
    """
    try:
        image = _opened(path)
        size = path.stat().st_size
        shape = tuple(int(length) for length in image.shape) if isinstance(image, Nifti1Image) else ()
    except (*UNREADABLE, ImageFileError, HeaderDataError, HeaderTypeError) as error:
        raise CohortError(f"{path}: cannot be read as a volume ({error}); allowed: NIfTI (.nii, .nii.gz).") from error
    if not isinstance(image, Nifti1Image) or not path.name.lower().endswith((".nii", ".nii.gz")):
        raise CohortError(f"{path}: is a {type(image).__name__}; allowed: a NIfTI volume in one file (.nii, .nii.gz).")
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,)):
        raise CohortError(f"{path}: its shape is {shape}; allowed: one 3-D volume. Keep one frame or channel of it.")
    if min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        raise CohortError(
            f"{path}: its header declares {' x '.join(map(str, shape))} voxels; allowed: at least 1 along each axis, "
            f"and at most {MAX_VOXELS:,} in all. Is the header damaged?"
        )
    if not mask and _is_compressed(path) and math.prod(shape) > max(FEW_VOXELS, MOST_VOXELS_A_BYTE * size):
        raise CohortError(
            f"{path}: its header declares {math.prod(shape):,} voxels in a file of {size:,} bytes; allowed: up to "
            f"{MOST_VOXELS_A_BYTE} per byte, or {FEW_VOXELS:,} in all. Is it empty, or its header damaged?"
        )
    if not (image.header["qform_code"] or image.header["sform_code"]):
        raise CohortError(
            f"{path}: its orientation is unknown, since qform_code and sform_code are both 0; needed: one of them. "
            "Convert the scan from DICOM again, or set sform_code if you know that the affine is right."
        )
    dtype = np.dtype(image.get_data_dtype())
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise CohortError(
            f"{path}: its voxels are {dtype}; allowed: one real number per voxel. Colours or complex "
            "numbers are no T1 volume: keep one channel of it, or its magnitude."
        )
    affine = np.asarray(image.affine)
    if not invertible(affine):
        raise CohortError(f"{path}: its affine {affine.tolist()} cannot be inverted, so its orientation is unknown.")
    # nibabel's own squeeze_image would read all voxels.
    return Nifti1Image(_proxy(image).reshape(shape[:3]), affine, image.header) if len(shape) == 4 else image


def canonical_voxels(image: Nifti1Image, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The voxels of `path` in canonical order, X x Y x Z float32, and the affine of that order, 4 x 4.

    Raises:
        CohortError: the file is incomplete or damaged, or has voxels that are NaN or infinite.
    """
    proxy = _proxy(image)
    stored = bytearray()  # grows with what the file holds, whatever its header declares
    try:
        for chunk in _voxel_bytes(image, path):
            stored += chunk
        voxels = np.frombuffer(stored, proxy.dtype).reshape(image.shape, order="F")
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = apply_read_scaling(voxels, proxy.slope, proxy.inter)
            canonical = as_closest_canonical(Nifti1Image(scaled, image.affine, image.header))
            volume = np.asarray(canonical.dataobj, dtype=np.float32)
    except UNREADABLE as error:
        raise CohortError(f"{path}: its voxels cannot be read ({error}); is the file complete?") from error
    broken = int(volume.size - np.isfinite(volume).sum())
    if broken:
        raise CohortError(f"{path}: {broken} of {volume.size} voxels are NaN or infinite; replace them, say by 0.")
    return volume, np.asarray(canonical.affine)


def refuse_constant(volume: np.ndarray, path: Path) -> None:
    """Raise CohortError if all voxels of the volume at `path` are the same."""
    if volume.min() == volume.max():
        raise CohortError(f"{path}: all voxels are {volume.flat[0]:g}; nothing is in it. Is it the right file?")


class FileDigest(NamedTuple):
    """What distinguishes a file from others."""

    file: bytes
    """SHA-256 of the file."""
    content: bytes
    """SHA-256 of a volume's voxels, however they are compressed and under whatever header; of other files as `file`."""


def file_digest(path: Path, volume: bool = True) -> FileDigest:
    """Digests of a file. A volume was read to its end: it holds what its header declares, and the checksum of a
    compressed one is right. A file that has not changed is read once per process.

    Raises:
        CohortError: as `load_image`, or the file is incomplete, damaged or longer than its header declares.
    """
    try:
        return _file_digest(path, volume, stamp(path))
    except OSError as error:
        raise CohortError(f"{path}: cannot be read ({error.strerror or error}).") from error


def stamp(path: Path) -> tuple[int, ...]:
    """Inode, size and times of a file, which is another when one of them is: no program can set the last, of change."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=4096)
def _file_digest(path: Path, volume: bool, _: tuple[int, ...]) -> FileDigest:
    content = _voxel_digest(path) if volume else None
    with path.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").digest()
    return FileDigest(whole, content or whole)


def _voxel_digest(path: Path) -> bytes:
    """SHA-256 of the voxels."""
    digest = hashlib.sha256()
    for chunk in _voxel_bytes(load_image(path, mask=True), path):
        digest.update(chunk)
    return digest.digest()


def _voxel_bytes(image: Nifti1Image, path: Path) -> Iterator[bytes]:
    """The voxels as they are stored; reads all of the file, but no further than a little beyond them.

    Raises:
        CohortError: the file is incomplete, damaged or longer than its header declares.
    """
    begin = int(_proxy(image).offset)
    end = begin + math.prod(image.shape) * np.dtype(image.get_data_dtype()).itemsize
    at = 0
    try:
        with gzip.open(path) if _is_compressed(path) else path.open("rb") as file:
            while at < end and (chunk := file.read(min(CHUNK, end - at))):
                yield chunk[max(0, begin - at) :]
                at += len(chunk)
            beyond = file.read(PADDING)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CohortError(f"{path}: is damaged ({error}); copy it anew from where it came from.") from error
    if at < end:
        raise CohortError(
            f"{path}: holds {at:,} bytes, but its header declares {end:,}; is the file complete? Copy it anew."
        )
    if len(beyond) == PADDING or any(beyond):
        raise CohortError(
            f"{path}: continues after the {end:,} bytes that its header declares; allowed after them: fewer than "
            f"{PADDING} zeros. Is the header damaged? Write the volume anew."
        )


def _is_compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _opened(path: Path) -> object:
    for image_class in (_Image1, _Image2):
        if image_class.path_maybe_image(path)[0]:
            return image_class.from_filename(path)
    return load(path)


def _proxy(image: Nifti1Image) -> ArrayProxy:
    """The voxels of an opened file, not read yet."""
    return cast(ArrayProxy, image.dataobj)
