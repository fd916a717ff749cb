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
from trainers.data import processes
from trainers.data.cohort import open_cohort
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.processes import Processes
from trainers.data.volume_file import FEW_VOXELS, PADDING, canonical_voxels, file_digest, load_image
from trainers.data.volume_tasks import check_cohort
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
        ((60, 70, 0), "its header declares 60 x 70 x 0 voxels; allowed: at least 1 along each axis"),
        ((60, 70, -64), "its header declares 60 x 70 x -64 voxels"),
        ((32767, 32767, 32767), "its header declares 32767 x 32767 x 32767 voxels.*at most 536,870,912 in all"),
        ((600, 700, 400), "holds 672,352 bytes, but its header declares 672,000,352; is the file complete"),
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
        file.write(bytes(2**25))
    content = path.read_bytes()
    # Cut off: what lies beyond is never reached.
    path.write_bytes(content[: len(content) - 20])
    with pytest.raises(
        CohortError,
        match=r"continues after the 672,352 bytes .* allowed after them: fewer than 512 zeros",
    ):
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


CONTRADICTIONS = {
    "infinite slope": (112, "2f", (math.inf, 0.0), "scl_slope, which scales its voxels, is inf; allowed: a finite"),
    "slope that is no number": (112, "2f", (math.nan, 0.0), "scl_slope, .* is nan; allowed: a finite number"),
    "infinite intercept": (112, "2f", (1.0, -math.inf), "scl_inter, .* is -inf; allowed: a finite number"),
    "voxels in the header": (108, "f", (0.0,), "vox_offset is 0, within the header; allowed: from 352"),
    "no offset": (108, "f", (math.nan,), "vox_offset|NaN"),
    "fewer slices": (46, "h", (20,), "continues after the 336,352 bytes that its header declares"),
    "bits": (70, "2h", (2, 16), "bitpix is 16, but its datatype, uint8, has 8 bits per voxel"),
    "bits alone": (72, "h", (8,), "bitpix is 8, but its datatype, float32, has 32 bits per voxel"),
    "smaller voxels": (70, "2h", (4, 16), "continues after the 336,352 bytes"),
    "no orientation": (252, "2h", (0, 0), "its orientation is unknown, since qform_code and sform_code are both 0"),
    "a strange code": (254, "h", (255,), "sform_code is 255; allowed: 0 to 5"),
    "no voxel size": (76, "4f", (1.0, 3.0, 0.0, 4.0), None),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_header_that_contradicts_itself_or_the_file_is_refused(plain: Path, name: str, packed: bool) -> None:
    at, kind, values, message = CONTRADICTIONS[name]
    whole = read(plain)
    content = bytearray(plain.read_bytes())
    struct.pack_into(f"<{kind}", content, at, *values)
    path = plain.with_name("w.nii.gz" if packed else "w.nii")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    if message is None:  # its sform does without
        assert np.array_equal(read(path), whole)
        struct.pack_into("<2h", content, 252, 1, 0)
        path.write_bytes(gzip.compress(content, 1) if packed else content)
        message = "pixdim, which its qform uses, is"
    with pytest.raises(CohortError, match=message):
        read(path)


def test_nibabel_says_nothing_of_its_own(plain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(plain.read_bytes())
    struct.pack_into("<f", content, 80, -3.0)
    struct.pack_into("<f", content, 108, 360.0)
    plain.write_bytes(content + bytes(8))
    read(plain)
    assert capfd.readouterr().err == ""


def extended(content: bytes) -> bytes:
    """With an extension of 32 bytes."""
    head = bytearray(content[:348]) + b"\1\0\0\0" + struct.pack("<2i", 32, 6) + b"a comment".ljust(24, b"\0")
    struct.pack_into("<f", head, 108, 384.0)
    return bytes(head) + content[352:]


def by_qform(content: bytes) -> bytes:
    """The affine of `save`, as a quaternion."""
    head = bytearray(content)
    struct.pack_into("<2h", head, 252, 1, 0)
    struct.pack_into("<6f", head, 256, 0, 0, 0, -90, -105, -80)
    return bytes(head)


@pytest.mark.parametrize(
    "change",
    [
        extended,
        by_qform,
        lambda content: content + bytes(PADDING - 1),
        lambda content: content[:72] + b"\x20\0" + content[74:],
    ],
    ids=["extension", "qform", "padded", "same"],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_files_as_scanners_and_programs_write_them_pass(
    plain: Path, packed: bool, change: Callable[[bytes], bytes]
) -> None:
    voxels, affine = canonical_voxels(load_image(plain), plain)
    content = change(plain.read_bytes())
    path = plain.with_name("w.nii.gz" if packed else "w.nii")
    # As pigz and bgzip do, in several members.
    path.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]) if packed else content)
    again, of = canonical_voxels(load_image(path), path)
    assert np.array_equal(again, voxels)
    assert np.allclose(of, affine)


def test_a_big_volume_of_next_to_nothing_is_refused_before_it_is_read(tmp_path: Path, plain: Path) -> None:
    """A megabyte of it would take gigabytes and half a minute."""
    content = plain.with_name("header.nii")
    content.write_bytes(plain.read_bytes()[:352])
    with_dims(content, 512, 512, 65)
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(content.read_bytes() + bytes(4 * 512 * 512 * 65), 1))
    assert FEW_VOXELS < 512 * 512 * 65
    with pytest.raises(CohortError, match=r"declares 17,039,360 voxels in a file of .* allowed: up to 50 per byte"):
        load_image(path)
    assert load_image(path, mask=True).shape == (512, 512, 65)


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
        file.write(bytes(2**24))
    tracemalloc.start()
    with pytest.raises(CohortError, match="its header declares 2,148,155,904; is the file complete"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_a_single_fourth_axis_is_dropped_without_reading_voxels(plain: Path) -> None:
    path = with_dims(plain, 60, 70, 40, 1)
    path.write_bytes(path.read_bytes()[:400])
    assert load_image(path).shape == (60, 70, 40)


def unpacked(first: Path, second: Path) -> str:
    second.with_name("t1c.nii").write_bytes(gzip.decompress(first.read_bytes()))
    return "P001/t1c.nii"


def packed_again(first: Path, second: Path) -> str:
    second.write_bytes(gzip.compress(gzip.decompress(first.read_bytes()), 1))
    return "P001/t1c.nii.gz"


def written_again(first: Path, second: Path) -> str:
    image = load_image(first)
    image.header["descrip"] = b"another program"
    image.to_filename(second)
    return "P001/t1c.nii.gz"


def copied(first: Path, second: Path) -> str:
    shutil.copy(first, second)
    return "P001/t1c.nii.gz"


def linked(first: Path, second: Path) -> str:
    second.unlink()
    os.symlink(first, second)
    return "P001/t1c.nii.gz"


@pytest.mark.parametrize(
    "same",
    [
        copied,
        linked,
        unpacked,
        packed_again,
        written_again,
        lambda *_: "./P000/t1c.nii.gz",
        lambda *_: "P001/../P000/t1c.nii.gz",
    ],
    ids=["copied", "linked", "unpacked", "packed again", "written again", "dotted", "roundabout"],
)
def test_one_volume_under_two_patients_is_refused(tmp_path: Path, same: Callable[[Path, Path], str]) -> None:
    folder = make_cohort(tmp_path / "cohort")
    subjects = read_manifest(folder)
    subjects[1]["volume"] = same(folder / "P000" / "t1c.nii.gz", folder / "P001" / "t1c.nii.gz")
    write_manifest(folder, subjects)
    message = r"patient 'P001': volume '.*' has the same content as volume 'P000/t1c\.nii\.gz' of patient 'P000'"
    with pytest.raises(CohortError, match=message):
        check_cohort(open_cohort(folder), PrepareConfig(size=64))
    with pytest.raises(CohortError, match=message):
        prepare(open_cohort(folder), PrepareConfig(size=64), tmp_path / "slices", lambda *_: None)


@pytest.mark.parametrize("whose", ["P000", "P001", "P002"])
def test_a_mask_that_is_a_volume_is_refused(tmp_path: Path, whose: str) -> None:
    """Of a patient before it or after it, and however it is packed."""
    folder = make_cohort(tmp_path / "cohort", mask=True)
    packed_again(folder / whose / "t1c.nii.gz", folder / "P001" / "mask.nii.gz")
    with pytest.raises(CohortError, match=rf"patient 'P00[12]': .*'{whose}/t1c.nii.gz'.*a mask holds the lesions"):
        check_cohort(open_cohort(folder), PrepareConfig(size=64))


@pytest.mark.parametrize(("key", "name"), [("mask", "mask.nii.gz"), ("boxes", "boxes.csv")])
def test_annotation_of_two_patients_is_refused(tmp_path: Path, key: str, name: str) -> None:
    folder = make_cohort(tmp_path / "cohort", mask=key == "mask")
    message = rf"patient 'P001': {key} '.*{name}' has the same content as {key} 'P000/{name}' of patient 'P000'"
    subjects = read_manifest(folder)
    write_manifest(folder, [subjects[0], {**subjects[1], key: f"P000/{name}"}, *subjects[2:]])
    with pytest.raises(CohortError, match=message):
        check_cohort(open_cohort(folder), PrepareConfig(size=64))
    write_manifest(folder, subjects)
    shutil.copy(folder / "P000" / name, folder / "P001" / name)
    with pytest.raises(CohortError, match=message):
        check_cohort(open_cohort(folder), PrepareConfig(size=64))


def test_two_volumes_of_one_patient_may_share_their_annotation(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", patients=4)
    subjects = read_manifest(folder)
    subjects[1] |= {"patient_id": "P000", "boxes": "P000/boxes.csv"}
    write_manifest(folder, subjects)
    check_cohort(open_cohort(folder), PrepareConfig(size=64))


def test_a_mask_is_checked_though_boxes_go_before_it(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", mask=True)
    subjects = read_manifest(folder)
    (folder / "boxes.csv").write_text("z,x0,y0,x1,y1\n18,20,30,24,35\n")
    subjects[0] |= {"boxes": "boxes.csv", "mask_labels": [10]}
    write_manifest(folder, subjects)
    check_cohort(open_cohort(folder), PrepareConfig(size=64))
    write_manifest(folder, [{**subjects[0], "mask_labels": [77]}, *subjects[1:]])
    with pytest.raises(CohortError, match="at least one of mask_labels 77"):
        check_cohort(open_cohort(folder), PrepareConfig(size=64))


def test_slice_ids_that_would_clash_are_found_before_a_volume_is_read(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", patients=5)
    subjects = read_manifest(folder)
    subjects[3]["patient_id"], subjects[4]["patient_id"] = "P000", "P000-v1"
    write_manifest(folder, subjects)
    (folder / subjects[0]["volume"]).write_bytes(b"damaged")
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
    monkeypatch.setattr(processes, "VOXEL_BYTES", 1e9)
    prepare(open_cohort(folder), PrepareConfig(size=64), tmp_path / "slices", lambda *_: None, Processes(3))
    assert "memory suffices for 1 of 3 preparing processes" in caplog.text
