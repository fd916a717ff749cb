from __future__ import annotations

import gzip
import math
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header, Nifti1Image, Nifti1Pair

from tests.trainers.data.phantom import make_cohort, read_manifest, save, stripped_brain, write_manifest
from trainers.data import prepare as preparation
from trainers.data.cohort import open_cohort
from trainers.data.prepare import check_cohort, prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.volume_file import BEYOND, canonical_voxels, file_digest, load_image
from trainers.exceptions import CohortError

DIM = 40
"""Where a NIfTI-1 header holds its shape: 8 int16."""


def read(path: Path) -> np.ndarray:
    return canonical_voxels(load_image(path), path)[0]


def with_dims(path: Path, *dims: int) -> Path:
    content = bytearray(path.read_bytes())
    content[DIM : DIM + 16] = struct.pack("<8h", len(dims), *dims, *[1] * (7 - len(dims)))
    path.write_bytes(content)
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    save(tmp_path / "v.nii", stripped_brain())
    return tmp_path / "v.nii"


def test_a_wrong_checksum_is_refused_though_the_voxels_can_be_read(tmp_path: Path) -> None:
    """nibabel stops before the checksum."""
    path = tmp_path / "v.nii.gz"
    save(path, np.zeros((20, 20, 20), np.int16))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    assert np.asarray(load_image(path).dataobj).shape == (20, 20, 20)
    with pytest.raises(CohortError, match=r"v\.nii\.gz: is damaged \(CRC check failed.*copy it anew"):
        read(path)


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ((60, 70, 0), "its header tells of 60 x 70 x 0 voxels; allowed: at least 1 along each axis"),
        ((60, 70, -64), "its header tells of 60 x 70 x -64 voxels"),
        ((32767, 32767, 32767), "its header tells of 32767 x 32767 x 32767 voxels.*at most 536,870,912 in all"),
        ((600, 700, 400), "holds 672,352 bytes, but its header tells of 672,000,352; is the file complete"),
        ((60, 70), r"its shape is \(60, 70\); allowed: one 3-D volume"),
        ((60, 70, 40, 1, 1), r"its shape is \(60, 70, 40, 1, 1\); allowed: one 3-D volume"),
    ],
)
def test_a_header_that_promises_what_cannot_be_is_refused(plain: Path, dims: tuple[int, ...], message: str) -> None:
    with pytest.raises(CohortError, match=message):
        read(with_dims(plain, *dims))


def test_a_file_that_expands_without_end_is_read_no_further_than_its_header_tells(tmp_path: Path, plain: Path) -> None:
    path = tmp_path / "bomb.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(plain.read_bytes())
        file.write(bytes(2 * BEYOND))
    content = path.read_bytes()
    # Cut off: what lies beyond is never reached.
    path.write_bytes(content[: len(content) - 20])
    with pytest.raises(CohortError, match="goes on for more than 16,777,216 bytes after the 672,352"):
        read(path)


@pytest.mark.parametrize(
    ("slope", "affine", "message"),
    [
        (1e38, np.eye(4), "voxels are NaN or infinite"),
        (1.0, np.diag([1.0, 1.0, 0.0, 1.0]), "cannot be inverted"),
        (1.0, np.diag([np.inf, 1.0, 1.0, 1.0]), "cannot be inverted"),
        (1.0, np.diag([1e200, 1e200, 1.0, 1.0]), "cannot be inverted"),
        (1.0, np.eye(4) + 1e38 * np.eye(4, k=1), "cannot be inverted"),
    ],
)
def test_numbers_that_are_none_are_refused(tmp_path: Path, slope: float, affine: np.ndarray, message: str) -> None:
    header = Nifti1Header()
    header.set_data_dtype(np.int16)
    image = Nifti1Image(np.full((8, 8, 8), 30000, np.int16), np.eye(4), header)
    image.header.set_slope_inter(slope, 0)
    image.header.set_sform(None)
    path = tmp_path / "v.nii"
    image.to_filename(path)
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<2f", slope, 0)
    with np.errstate(over="ignore"):
        rows = affine[:3].astype(np.float32)
    content[252:256] = struct.pack("<2h", 0, 1)
    content[280:328] = rows.tobytes()
    path.write_bytes(content)
    with pytest.raises(CohortError, match=message):
        read(path)


def test_a_volume_in_two_files_is_refused(tmp_path: Path) -> None:
    """The second one would be in no fingerprint."""
    Nifti1Pair(stripped_brain(), np.eye(4)).to_filename(tmp_path / "v.img")
    with pytest.raises(CohortError, match="is a Nifti1Pair; allowed: a NIfTI volume in one file"):
        load_image(tmp_path / "v.img")


@pytest.mark.parametrize("dims", [(512, 512, 400), (1024, 1024, 300)])
def test_the_largest_sensible_volumes_pass(plain: Path, dims: tuple[int, ...]) -> None:
    path = with_dims(plain, *dims)
    os.truncate(path, 352 + 4 * math.prod(dims))
    assert load_image(path).shape == dims


def test_an_extension_of_gigabytes_is_not_read(tmp_path: Path, plain: Path) -> None:
    """nibabel reads extensions whole when it opens a file, and 16 MB of zeros are 16 kB compressed."""
    size = 2**31 - 16
    content = bytearray(plain.read_bytes()[:348]) + b"\1\0\0\0" + struct.pack("<2i", size, 4)
    content[108:112] = struct.pack("<f", 352 + size)
    path = tmp_path / "v.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(content)
        file.write(bytes(BEYOND))
    tracemalloc.start()
    with pytest.raises(CohortError, match="its header tells of 2,148,155,904; is the file complete"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_a_single_fourth_axis_is_dropped_without_reading_voxels(plain: Path) -> None:
    path = with_dims(plain, 60, 70, 40, 1)
    path.write_bytes(path.read_bytes()[:400])
    assert load_image(path).shape == (60, 70, 40)


def copied(first: Path, second: Path) -> str:
    shutil.copy(first, second)
    return "P001/t1c.nii.gz"


def linked(first: Path, second: Path) -> str:
    second.unlink()
    os.symlink(first, second)
    return "P001/t1c.nii.gz"


@pytest.mark.parametrize(
    "same",
    [copied, linked, lambda *_: "./P000/t1c.nii.gz", lambda *_: "P001/../P000/t1c.nii.gz"],
    ids=["copied", "linked", "dotted", "roundabout"],
)
def test_one_volume_under_two_patients_is_refused(tmp_path: Path, same: Callable[[Path, Path], str]) -> None:
    folder = make_cohort(tmp_path / "cohort")
    subjects = read_manifest(folder)
    subjects[1]["volume"] = same(folder / "P000" / "t1c.nii.gz", folder / "P001" / "t1c.nii.gz")
    write_manifest(folder, subjects)
    message = r"patient 'P001': volume '.*' has the same content as 'P000/t1c\.nii\.gz' of patient 'P000'"
    with pytest.raises(CohortError, match=message):
        check_cohort(open_cohort(folder), PrepareConfig(size=64))
    with pytest.raises(CohortError, match=message):
        prepare(open_cohort(folder), PrepareConfig(size=64), tmp_path / "slices", lambda *_: None)


def test_a_mask_that_is_a_volume_is_refused(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", mask=True)
    shutil.copy(folder / "P001" / "t1c.nii.gz", folder / "P001" / "mask.nii.gz")
    with pytest.raises(CohortError, match=r"mask 'P001/mask.nii.gz' has the very content of volume 'P001/t1c.nii.gz'"):
        check_cohort(open_cohort(folder), PrepareConfig(size=64))


def test_slice_ids_that_would_clash_are_found_before_a_volume_is_read(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", patients=5)
    subjects = read_manifest(folder)
    subjects[3]["patient_id"], subjects[4]["patient_id"] = "P000", "P000-v1"
    write_manifest(folder, subjects)
    with pytest.raises(CohortError, match="'P000' and 'P000-v1' would both be called P000-v1-z"):
        check_cohort(open_cohort(folder), PrepareConfig(size=64))


def test_a_file_is_read_again_when_it_has_changed(plain: Path) -> None:
    first = file_digest(plain)
    content = bytearray(plain.read_bytes())
    content[-1] ^= 1
    plain.write_bytes(content)
    os.utime(plain, ns=(0, plain.stat().st_mtime_ns + 1))
    assert file_digest(plain) != first


def test_fewer_processes_where_memory_does_not_suffice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_cohort(tmp_path / "cohort")
    monkeypatch.setattr(preparation, "VOXEL_BYTES", 1e9)
    prepare(open_cohort(folder), PrepareConfig(size=64), tmp_path / "slices", lambda *_: None, workers=3)
    assert "memory suffices for 1 of 3 preparing processes" in caplog.text
