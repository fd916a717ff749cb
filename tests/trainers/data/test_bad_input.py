"""Bad input as it occurs in clinics and downloads: each kind has one defined outcome, refused by name or used right."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image

from tests.trainers.data import public_sets as sets
from tests.trainers.data.phantom import read_manifest, write_manifest
from tests.trainers.data.tiny_cohort import AFFINE, SHAPE, make_tiny_cohort, tiny_brain
from trainers.data.cohort import open_cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.importing import import_cohort
from trainers.data.layouts.brats import BRATS_METS
from trainers.data.layouts.contract import Tree
from trainers.data.leaks import Pair
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.data.volume_check import check_volumes
from trainers.data.volume_tasks import plan_volumes
from trainers.exceptions import CohortError

CONFIG = PrepareConfig(size=32)
BRAIN = tiny_brain(1)
LESION = np.zeros(SHAPE, np.uint8)
LESION[6:8, 7:9, 4:6] = 1


def volume(voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Callable[[Path], None]:
    return lambda folder: Nifti1Image(voxels, affine).to_filename(folder / "P001/t1c.nii.gz")


def mask(voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        Nifti1Image(voxels, affine).to_filename(folder / "P001/mask.nii.gz")
        first, *others = read_manifest(folder)
        write_manifest(folder, [first | {"mask": "P001/mask.nii.gz", "boxes": None}, *others])

    return write


def boxes(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "P001/boxes.csv").write_text(f"z,x0,y0,x1,y1\n{text}\n")


def named(path: str) -> Callable[[Path], None]:
    """The first volume under another path."""

    def move(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "P001/t1c.nii.gz").rename(folder / path)
        write_manifest(folder, [read_manifest(folder)[0] | {"volume": path}, *read_manifest(folder)[1:]])

    return move


def brain(voxels: np.ndarray) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        Nifti1Image(voxels, AFFINE).to_filename(folder / "P001/brain.nii.gz")
        first, *others = read_manifest(folder)
        write_manifest(folder, [first | {"brain": "P001/brain.nii.gz"}, *others])

    return write


def cut_off(folder: Path) -> None:
    file = folder / "P001/t1c.nii.gz"
    file.write_bytes(file.read_bytes()[:-200])


def header(at: int, kind: str, *values: float) -> Callable[[Path], None]:
    """Numbers of the first volume's header replaced."""

    def write(folder: Path) -> None:
        file = folder / "P001/t1c.nii.gz"
        content = bytearray(gzip.decompress(file.read_bytes()))
        struct.pack_into(f"<{kind}", content, at, *values)
        file.write_bytes(gzip.compress(content, 1))

    return write


def bomb(folder: Path) -> None:
    """Zeros after a header that declares them, 80 MiB in 80 kB."""
    file = folder / "P001/t1c.nii.gz"
    content = bytearray(gzip.decompress(file.read_bytes())[:352])
    struct.pack_into("<8h", content, 40, 3, 512, 512, 80, 1, 1, 1, 1)
    file.write_bytes(gzip.compress(content, 1) + gzip.compress(bytes(2**20), 9) * 80)


def loop(folder: Path) -> None:
    (folder / "P001/t1c.nii.gz").unlink()
    os.symlink("t1c.nii.gz", folder / "P001/t1c.nii.gz")


METRES = np.diag([0.001, 0.001, 0.001, 1.0]) @ AFFINE
NAN, INFINITE = BRAIN.copy(), BRAIN.copy()
NAN[5, 5, 5], INFINITE[5, 5, 5] = np.nan, np.inf
MOVED = AFFINE + np.eye(4, k=3) * 40
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (cut_off, r"t1c\.nii\.gz: is damaged \(.*copy it anew"),
    "no gzip file": (lambda folder: (folder / "P001/t1c.nii.gz").write_bytes(b"no gzip"), "cannot be read as a volume"),
    "4-D": (volume(np.stack([BRAIN] * 2, axis=-1)), r"its shape is \(14, 16, 10, 2\); allowed: one 3-D volume"),
    "wrong affine": (header(280, "4f", 0, 0, 0, 0), "cannot be inverted, so its orientation is unknown"),
    "missing affine": (header(252, "2h", 0, 0), "unknown, since qform_code and sform_code are both 0"),
    "unknown orientation": (header(254, "h", 9), "sform_code is 9; allowed: 0 to 5"),
    "NaN": (volume(NAN), "1 of 2240 voxels are NaN or infinite"),
    "infinite": (volume(INFINITE), "1 of 2240 voxels are NaN or infinite"),
    "empty mask": (mask(LESION * 0), "shows no lesion, but the volume's kind is \"tumour\""),
    "all-brain mask": (mask((BRAIN > 0).astype(np.uint8)), "of its 2,240 voxels are lesion"),
    "mask on another grid": (mask(LESION, MOVED), "differ from its volume's .* resample the mask"),
    "mask of another shape": (mask(LESION[:-1]), "differ from its volume's .* resample the mask"),
    "box outside": (boxes("4,6,7,15,9"), r"boxes\.csv: line 2 is .*inside the canonical volume of \(14, 16, 10\)"),
    "box repeated": (boxes("4,6,7,8,9\n4,6,7,8,9"), r"boxes\.csv: line 3 is the box of line 2 again"),
    "constant volume": (volume(np.full(SHAPE, 7.0)), "all voxels are 7; nothing is in it"),
    "infinite scale": (header(112, "f", np.inf), "scl_slope, which scales its voxels, is inf"),
    "scale beyond numbers": (header(112, "f", 3e38), "voxels are NaN or infinite"),
    "affine in metres": (volume(BRAIN, METRES), r"10 voxels of 0\.01 x 0\.01 x 0\.012 mm measure 2\.69e-06 ml"),
    "affine in micrometres": (volume(BRAIN, np.diag([1e3, 1e3, 1e3, 1.0]) @ AFFINE), "Is its affine in millimetres"),
    "empty mask of the brain": (brain(LESION * 0), "the given mask of the brain measures 0 ml; allowed: 200 to 2600"),
    "mask of the brain of another shape": (brain(BRAIN[:-1]), "differ from its volume's .* resample the mask"),
    "brain of one voxel": (volume(LESION * 100.0), r"the non-zero part measures \d+ ml; allowed: 200 to 2600 ml"),
    "mask of all but the brain": (brain((BRAIN == 0).astype(np.uint8)), "half of its brain is not brighter than 0"),
    "box beside the brain": (boxes("1,0,0,1,1"), "all 1 boxes of its lesions lie outside the brain"),
    "too long a path": (lambda folder: write_manifest(
        folder, [read_manifest(folder)[0] | {"volume": "a" * 4000}, *read_manifest(folder)[1:]]),
        "but there is no file"),
    "symlink loop": (loop, "but there is no file"),
    "gzip bomb": (bomb, r"declares 20,971,520 voxels in a file of .* allowed: up to 50 per byte"),
    "huge dimensions": (header(42, "3h", *[32767] * 3), "32767 x 32767 x 32767 voxels; allowed: .*at most 536,870,912"),
}  # fmt: skip
"""What is wrong -> how a cohort gets so, and what is said of it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_cohort(tmp_path / "cohort", 3)


def checked(folder: Path) -> list[Pair]:
    cache = CohortCache(folder.parent / "cache")
    return check_volumes(plan_volumes(open_cohort(folder), CONFIG, cache), CONFIG, cache, lambda *_: None)


def prepared(folder: Path) -> SliceSet:
    out = folder.parent / "slices"
    prepare(open_cohort(folder), CONFIG, out, lambda *_: None)
    return open_slice_set(out)


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_with_patient_and_reason_and_nothing_is_left(folder: Path, kind: str) -> None:
    """By preparation and before it by a check, which passed the same volume when it was whole."""
    damage, message = REFUSED[kind]
    assert checked(folder) == []
    damage(folder)
    for refuse in (checked, prepared):
        with pytest.raises(CohortError, match=message) as refused:
            refuse(folder)
        assert "'P001'" in str(refused.value)
    assert not (folder.parent / "slices").exists()


def test_a_check_lists_all_broken_volumes_and_strips_no_skull(folder: Path) -> None:
    write_manifest(folder, [subject | {"stripped": None} for subject in read_manifest(folder)])
    assert checked(folder) == []
    for patient, broken, affine in (("P001", BRAIN * 0, AFFINE), ("P002", BRAIN, METRES), ("P003", NAN, AFFINE)):
        Nifti1Image(broken, affine).to_filename(folder / patient / "t1c.nii.gz")
    with pytest.raises(CohortError) as refused:
        checked(folder)
    first, second, third, advice = str(refused.value).splitlines()
    assert "'P001'" in first
    assert "all voxels are 0" in first
    assert "'P002'" in second
    assert "Is its affine in millimetres" in second
    assert "'P003'" in third
    assert "1 of 2240 voxels are NaN" in third
    assert advice.startswith("Correct or remove them")


def mixed_spacing(folder: Path) -> None:
    """Twice as many, thinner slices."""
    volume(np.repeat(BRAIN, 2, axis=2), AFFINE @ np.diag([1, 1, 0.5, 1]))(folder)


USED: dict[str, tuple[Callable[[Path], object], int]] = {
    "mixed spacing": (mixed_spacing, 1),
    "unicode path": (named("Größe 脑 \N{COMBINING ACUTE ACCENT}/t1 'c'.nii.gz"), 1),
    "very long path": (named("/".join(["a" * 200] * 5) + "/t1c.nii.gz"), 1),
    "lesion of one voxel": (boxes("4,6,7,7,8"), 1),
    "mask of one voxel": (mask((np.cumsum(LESION.ravel()).reshape(SHAPE) == 1) * LESION), 1),
    "box that covers the slice": (boxes("4,0,0,14,16"), 1),
}
"""What is odd -> how a cohort gets so, and on how many slices the patient's lesion is."""


@pytest.mark.parametrize("kind", USED)
def test_it_is_used_as_it_is(folder: Path, kind: str) -> None:
    boxes("4,6,7,8,9")(folder)
    damage, slices = USED[kind]
    damage(folder)
    assert checked(folder) == []
    made = prepared(folder)
    mine = made.slices[made.slices["patient_id"] == "P001"]
    assert len(mine) == slices
    (box,) = (
        of for of, patient in zip(made.boxes_by_slice(), made.slices["patient_id"], strict=True) if patient == "P001"
    )
    assert ((box[:, 2:] - box[:, :2]) >= CONFIG.min_box_pixels).all()
    assert made.images[mine.index].max() > 0


def test_two_files_of_one_patient_and_sequence_are_refused(tmp_path: Path) -> None:
    scan = sets.brats_case(tmp_path / "download", "BraTS-MET-00001-000", 1, lesion=(1, 3))
    sets.write(scan / "BraTS-MET-00001-000-t1c.nii", sets.brain(2))
    tree = Tree.of(tmp_path / "download")
    with pytest.raises(CohortError, match=r"BraTS-MET-00001-000: .*t1c\.nii and .*t1c\.nii\.gz are both its T1"):
        import_cohort(BRATS_METS, tree, tmp_path, tmp_path, lambda *_: None)


def test_a_folder_that_links_back_to_itself_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").touch()
    os.symlink("..", tmp_path / "in" / "again")
    os.symlink("loop", tmp_path / "in" / "loop")
    names = [file.name for file in Tree.of(tmp_path / "in").files]
    assert names.count("file") == 1
