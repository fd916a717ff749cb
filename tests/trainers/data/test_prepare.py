"""Slices show the brain, boxes lie where the lesions are, and coordinates go there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nibabel.loadsave import load
from nibabel.nifti1 import Nifti1Image
from pydantic import ValidationError

from tests.trainers.data.phantom import LESION, SHAPE, make_cohort, read_manifest, save, stripped_brain, write_manifest
from tests.trainers.data.plain_slice import plain_slice
from trainers.data.cohort import open_cohort
from trainers.data.geometry import SliceGeometry
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.processes import Processes
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.data.strip_config import StripConfig
from trainers.data.volume import SliceConfig, volume_slices
from trainers.data.volume_tasks import check_cohort
from trainers.exceptions import CohortError, SliceSetError

CONFIG = PrepareConfig(size=64)
CUT = PrepareConfig(size=64, strip=StripConfig(keep_lesions=False))


def _prepare(folder: Path, config: PrepareConfig = CONFIG, out: str = "slices", workers: int = 1) -> SliceSet:
    calls: list[tuple[int, int]] = []
    target = folder.parent / out
    prepare(open_cohort(folder), config, target, lambda done, total, _: calls.append((done, total)), Processes(workers))
    total = len(read_manifest(folder))
    assert calls == [(done, total) for done in range(1, total + 1)]
    return open_slice_set(target)


@pytest.mark.parametrize("axes", ["LPS", "ASR", "ILA"])
def test_file_orientation_does_not_change_the_slices(tmp_path: Path, axes: str) -> None:
    volume = stripped_brain()
    volume[8:20, 20:30, 20] = 160
    save(tmp_path / "ras.nii.gz", volume)
    save(tmp_path / "other.nii.gz", volume, axes)
    one, other = (volume_slices(tmp_path / f"{name}.nii.gz", CONFIG, stripped=True) for name in ("ras", "other"))
    assert np.array_equal(one.images, other.images)
    assert np.array_equal(one.z, other.z)

    boxes = np.array([[10.0, 12.0, 20.0, 30.0], [0.0, 3.5, 64.0, 9.25]])
    z = np.array([20, 21])
    assert np.allclose(one.geometry.to_world(boxes, z), other.geometry.to_world(boxes, z))
    assert np.allclose(other.geometry.to_pixels(other.geometry.to_canonical(boxes)), boxes)


def test_boxes_reach_the_right_voxels_of_the_file(tmp_path: Path) -> None:
    save(tmp_path / "v.nii.gz", stripped_brain(), "ASR")
    found = volume_slices(tmp_path / "v.nii.gz", CONFIG, stripped=True)
    x, y, z = LESION
    pixels = found.geometry.to_pixels(np.array([[x.start, y.start, x.stop, y.stop]]))
    lower, upper = np.rint(found.geometry.to_file(pixels, np.array([z.start]))[0]).astype(int)
    image = load(tmp_path / "v.nii.gz")
    assert isinstance(image, Nifti1Image)
    part = np.asarray(image.dataobj)[lower[0] : upper[0], lower[1] : upper[1], lower[2] : upper[2]]
    assert part.size == 4 * 5
    assert (part == 200).all()

    world = found.geometry.to_world(pixels, np.array([z.start]))[0]
    assert np.allclose(world[0], [-90 + 3 * (x.start - 0.5), -105 + 3 * (y.start - 0.5), -80 + 4 * (z.start - 0.5)])
    assert np.allclose(world[1] - world[0], [12, 15, 4])


def test_geometry_survives_json(tmp_path: Path) -> None:
    save(tmp_path / "v.nii.gz", stripped_brain(), "LPS")
    geometry = volume_slices(tmp_path / "v.nii.gz", CONFIG, stripped=True).geometry
    assert SliceGeometry.from_json(json.loads(json.dumps(geometry.to_json()))) == geometry


def test_slices_are_radiological_with_anterior_up(tmp_path: Path) -> None:
    volume = stripped_brain(lesion=False)
    volume[38:42, 45:49, 20] = 220  # the patient's right (high x), anterior (high y)
    save(tmp_path / "v.nii.gz", volume, "LPS")
    found = volume_slices(tmp_path / "v.nii.gz", CONFIG, stripped=True)
    row, column = np.unravel_index(found.images[found.z.tolist().index(20)].argmax(), (64, 64))
    assert row < 32
    assert column < 32


def test_proportions_in_mm_are_kept(tmp_path: Path) -> None:
    """A ball stays round although its voxels are not."""
    grid = np.meshgrid(np.arange(100) * 2.0 - 100, np.arange(60) * 4.0 - 120, np.arange(20) * 8.0 - 80, indexing="ij")
    ball = np.where(sum(axis**2 for axis in grid) < 60**2, 100.0, 0.0).astype(np.float32)
    Nifti1Image(ball, np.diag([2.0, 4.0, 8.0, 1.0])).to_filename(tmp_path / "ball.nii.gz")
    found = volume_slices(tmp_path / "ball.nii.gz", CONFIG, stripped=True)
    middle = found.images[np.argmax(found.brain.sum(axis=(1, 2)))] > 0
    assert abs(int(middle.any(axis=0).sum()) - int(middle.any(axis=1).sum())) <= 2
    assert found.geometry.mm_per_pixel * 64 == pytest.approx(120 * 1.08, rel=0.06)


@pytest.mark.parametrize("mask", [False, True])
def test_lesions_lie_in_their_boxes(tmp_path: Path, mask: bool) -> None:
    found = _prepare(make_cohort(tmp_path / "cohort", mask=mask))
    assert set(found.slices["kind"]) == {"tumour", "normal"}
    assert set(found.slices.loc[found.slices["kind"] == "tumour", "slice_id"]) == set(found.boxes["slice_id"])
    assert set(found.slices.loc[found.slices["kind"] == "normal", "patient_id"]) == {"P003"}
    assert len(found.boxes) == 3 * 3
    for image, boxes in zip(found.images, found.boxes_by_slice(), strict=True):
        for x0, y0, x1, y1 in boxes.astype(int):
            bright = np.argwhere(image > image[image > 0].mean() * 1.5)
            assert len(bright)
            assert (bright >= [y0, x0]).all()
            assert (bright < [y1, x1]).all()
            assert (x1 - x0) * (y1 - y0) < (6 if mask else 2) * len(bright)


@pytest.mark.parametrize("axes", ["RAS", "SAL"])
def test_size_is_the_lesions_in_millimetres_not_its_boxes(tmp_path: Path, axes: str) -> None:
    """Axial voxels measure 2 x 4 mm; the long lesion is longest, 6 voxels of 4 mm, on the middle one of its slices."""
    folder = make_cohort(tmp_path / "cohort", mask=True)
    found = np.zeros(SHAPE, dtype=np.uint8)
    found[20:24, 30:32, 15] = 1
    found[20:24, 30:36, 16] = 1
    found[22, 31, 17] = 1
    found[35:40, 30:32, 16] = 1
    for name, volume in (("t1c", stripped_brain(lesion=False)), ("mask", found)):
        save(folder / "P000" / f"{name}.nii.gz", volume, axes, spacing=(2.0, 4.0, 3.0))
    boxes = _prepare(folder, PrepareConfig(size=64, min_box_pixels=12)).boxes
    mine = boxes[boxes["slice_id"].str.startswith("P000")]
    assert mine["diameter_mm"].dtype == np.float64
    of_lesions = mine.groupby("lesion")["diameter_mm"].agg(["size", "min", "max"])
    assert sorted(of_lesions.itertuples(index=False, name=None)) == [(1, 10.0, 10.0), (3, 24.0, 24.0)]


def test_size_counts_boxes_outside_the_brain_and_sides_as_drawn(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort")
    (folder / "P000" / "boxes.csv").write_text("z,x0,y0,x1,y1\n36,28,33,32,37\n37,20,30,40,33\n20,30,30,31,31\n")
    found = _prepare(folder, CUT)
    assert found.meta["volumes"]["P000/t1c.nii.gz"]["boxes_outside_brain"] == 1
    mine = found.boxes.set_index("slice_id").filter(like="P000", axis=0)
    assert mine["diameter_mm"].to_dict() == {"P000-z020": 3.0, "P000-z036": 60.0}


def test_lesion_free_slices_can_be_kept(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort")
    kept = _prepare(folder, PrepareConfig(size=64, lesion_free_slices="keep")).slices
    free = kept[(kept["kind"] == "normal") & (kept["subject_kind"] == "tumour")]
    assert free.groupby("patient_id").size().min() > 10
    assert set(kept.loc[kept["subject_kind"] == "normal", "patient_id"]) == {"P003"}
    shown = volume_slices(folder / "P000" / "t1c.nii.gz", CONFIG, stripped=True)
    assert kept.loc[kept["patient_id"] == "P000", "z"].tolist() == shown.z.tolist()


def test_small_boxes_are_widened_and_counted(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort")
    (folder / "P000" / "boxes.csv").write_text("z,x0,y0,x1,y1\n20,30,30,31,31\n20,0,0,2,2\n")
    found = _prepare(folder, PrepareConfig(size=32, min_box_pixels=6))
    mine = found.boxes[found.boxes["slice_id"] == "P000-z020"]
    assert len(mine) == 1
    assert (mine["x1"] - mine["x0"]).tolist() == [6]
    about = found.meta["volumes"]["P000/t1c.nii.gz"]
    assert (about["boxes_widened"], about["boxes_outside_brain"], about["boxes"]) == (1, 1, 1)


def test_boxes_of_a_lesion_that_become_the_same_are_one(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort")
    (folder / "P000" / "boxes.csv").write_text("z,x0,y0,x1,y1\n18,20,30,24,34\n18,20,30,24,35\n")
    found = _prepare(folder, PrepareConfig(size=32, min_box_pixels=6))
    assert len(found.boxes[found.boxes["slice_id"] == "P000-z018"]) == 1
    assert found.meta["volumes"]["P000/t1c.nii.gz"]["boxes"] == 1


def test_same_seed_same_set_in_any_number_of_processes(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", mask=True)
    one, two = _prepare(folder), _prepare(folder, out="two", workers=2)
    other = _prepare(folder, PrepareConfig(size=64, seed=1), out="other")
    assert np.array_equal(one.images, two.images)
    pd.testing.assert_frame_equal(one.slices, two.slices)
    pd.testing.assert_frame_equal(one.boxes, two.boxes)
    assert one.meta == two.meta
    assert not one.boxes.equals(other.boxes)


def test_two_volumes_of_a_patient_have_their_own_slices(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", patients=4)
    subjects = read_manifest(folder)
    subjects[3]["patient_id"] = "P000"
    write_manifest(folder, subjects)
    slices = _prepare(folder).slices
    assert {name[:7] for name in slices.loc[slices["patient_id"] == "P000", "slice_id"]} == {"P000-v1", "P000-v2"}


def test_refuses_before_any_volume_is_read(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort")
    (folder / "P000" / "boxes.csv").write_text("z,x0,y0,x1,y1\n")
    for refuse in (lambda: check_cohort(open_cohort(folder), CONFIG), lambda: _prepare(folder)):
        with pytest.raises(CohortError, match=r"patient 'P000': .*boxes\.csv: holds no box"):
            refuse()
    assert not (tmp_path / "slices").exists()


def test_refuses_a_folder_in_use(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort")
    _prepare(folder)
    with pytest.raises(SliceSetError, match="is not empty"):
        _prepare(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(SliceSetError, match="cannot be made"):
        _prepare(folder, out="file/slices")


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (np.full(SHAPE, 7.0), "all voxels are 7"),
        (np.where(stripped_brain() > 195, np.nan, stripped_brain()), "voxels are NaN or infinite"),
        (np.stack([stripped_brain()] * 2, axis=-1), r"its shape is \(60, 70, 40, 2\); allowed: one 3-D volume"),
    ],
)
def test_refuses_bad_volumes_and_leaves_nothing(tmp_path: Path, volume: np.ndarray, message: str) -> None:
    folder = make_cohort(tmp_path / "cohort")
    path = folder / "P003" / "t1c.nii.gz"
    Nifti1Image(volume.astype(np.float32), np.diag([3.0, 3.0, 4.0, 1.0])).to_filename(path)
    with pytest.raises(CohortError, match=message) as refused:
        _prepare(folder)
    assert str(path) in str(refused.value)
    assert "patient 'P003'" in str(refused.value)
    assert not (tmp_path / "slices").exists()


COLOURS = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize("dtype", [COLOURS, np.complex64])
@pytest.mark.parametrize("name", ["t1c", "mask"])
def test_refuses_voxels_that_are_not_one_number(tmp_path: Path, name: str, dtype: np.dtype) -> None:
    folder = make_cohort(tmp_path / "cohort", mask=True)
    path = folder / "P001" / f"{name}.nii.gz"
    Nifti1Image(np.ones(SHAPE, dtype), np.diag([3.0, 3.0, 4.0, 1.0])).to_filename(path)
    with pytest.raises(
        CohortError, match=r"patient 'P001': .*allowed: one real number per voxel.*keep one channel"
    ) as no:
        check_cohort(open_cohort(folder), CONFIG)
    assert f"{path}: its voxels are" in str(no.value)


def test_refuses_a_mask_with_nan_voxels(tmp_path: Path) -> None:
    """Rounded to whole numbers they would be lesion."""
    folder = make_cohort(tmp_path / "cohort", mask=True)
    broken = np.zeros(SHAPE, np.float32)
    broken[3, 4, 5] = np.nan
    save(folder / "P001" / "mask.nii.gz", broken)
    with pytest.raises(CohortError, match=r"patient 'P001': .*mask\.nii\.gz: 1 of 168000 voxels are NaN"):
        check_cohort(open_cohort(folder), CONFIG)


@pytest.mark.parametrize("axes", ["RAS", "PSR"])
def test_refuses_a_volume_that_is_cut_off(tmp_path: Path, axes: str) -> None:
    path = tmp_path / "v.nii"
    save(path, stripped_brain(), axes)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(
        CohortError, match=r"holds 100,000 bytes, but its header declares 672,352; is the file complete"
    ):
        volume_slices(path, CONFIG, stripped=True)


def test_boxes_that_leave_the_slice_are_cut_or_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without room around the brain the slice's border touches it, at y = 3; a wide box beside it would reach it."""
    folder = make_cohort(tmp_path / "cohort")
    rows = "20,25,0,35,10\n20,25,0,35,2\n20,25,30,35,40\n"
    (folder / "P000" / "boxes.csv").write_text(f"z,x0,y0,x1,y1\n{rows}")
    found = _prepare(folder, PrepareConfig(size=64, margin=0.0, min_box_pixels=16, strip=CUT.strip))
    about = found.meta["volumes"]["P000/t1c.nii.gz"]
    assert (about["boxes"], about["boxes_cut"], about["boxes_outside_brain"]) == (2, 1, 1)
    assert found.meta["counts"]["boxes_cut"] == 1
    assert found.meta["counts"]["boxes_outside_brain"] == 1
    assert "P000/t1c.nii.gz: 1 boxes lie outside the brain and are left out" in caplog.text
    assert found.boxes["y1"].max() == 64


def test_refuses_what_is_no_volume(tmp_path: Path) -> None:
    (tmp_path / "v.nii.gz").write_text("no volume")
    with pytest.raises(CohortError, match="cannot be read as a volume"):
        volume_slices(tmp_path / "v.nii.gz", CONFIG)


def test_accepts_a_single_frame(tmp_path: Path) -> None:
    affine = np.diag([3.0, 3.0, 4.0, 1.0])
    Nifti1Image(stripped_brain()[..., None], affine).to_filename(tmp_path / "v.nii.gz")
    assert volume_slices(tmp_path / "v.nii.gz", CONFIG, stripped=True).images.shape[1:] == (64, 64)


@pytest.mark.parametrize("size", [48, 16, 1024])
def test_size_is_a_power_of_two(size: int) -> None:
    with pytest.raises(ValidationError):
        SliceConfig(size=size)


@pytest.mark.parametrize("size", [32, 128], ids=["shrunk", "grown"])
def test_pixels_are_those_of_a_plain_loop(tmp_path: Path, size: int) -> None:
    """Within one grey level, though noise makes neighbouring voxels differ by many."""
    volume = stripped_brain()
    save(tmp_path / "v.nii.gz", volume)
    slices = volume_slices(tmp_path / "v.nii.gz", SliceConfig(size=size), stripped=True)
    for row in range(0, len(slices.z), 5):
        plain, clear = plain_slice(volume, slices, row)
        assert clear.mean() > 0.95
        assert np.abs(slices.images[row] - plain)[clear].max() <= 1


def test_brightness_is_of_the_brain_not_of_its_lesions(tmp_path: Path) -> None:
    """Lesions keep head-room, and neither they nor the scanner's units move the rest."""
    shown: list[Any] = []
    for name, volume in (("a", stripped_brain(lesion=False)), ("b", stripped_brain() * 40)):
        save(tmp_path / f"{name}.nii.gz", volume)
        found = volume_slices(tmp_path / f"{name}.nii.gz", CONFIG, stripped=True)
        shown.append(found.images[found.z.tolist().index(10)].astype(int))
        assert found.images.max() < 255
        assert (found.images[found.brain < 0.5] == 0).all()
    assert np.abs(shown[0] - shown[1]).max() <= 1
