"""Lesions that a strip cuts into are counted and given back; masks that do not look like brains are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.trainers.data.phantom import LESION, make_cohort, read_manifest, save, stripped_brain, write_manifest
from trainers.data.cohort import open_cohort
from trainers.data.kept_lesions import Lesions, give_back, lesions_of_boxes
from trainers.data.merging import moved
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.data.strip_config import StripConfig
from trainers.data.strip_quality import mask_shape, odd_masks
from trainers.exceptions import CohortError

SPACING = np.array([3.0, 3.0, 4.0])
CONFIG = PrepareConfig(size=64)
NOT_KEPT = PrepareConfig(size=64, strip=StripConfig(keep_lesions=False))


def cut_cohort(folder: Path, mask: bool) -> Path:
    """P000's brain mask leaves out half of its lesion, and a voxel of P001's."""
    make_cohort(folder, mask=mask)
    subjects = read_manifest(folder)
    for number, cut in ((0, (slice(22, 24), *LESION[1:])), (1, (23, 30, 19))):
        brain = (stripped_brain(number) > 0).astype(np.uint8)
        brain[cut] = 0
        save(folder / f"P00{number}" / "brain.nii.gz", brain)
        subjects[number]["brain"] = f"P00{number}/brain.nii.gz"
    write_manifest(folder, subjects)
    return folder


def prepared(folder: Path, config: PrepareConfig, out: str) -> SliceSet:
    prepare(open_cohort(folder), config, folder.parent / out, lambda *_: None)
    return open_slice_set(folder.parent / out)


def brightest_share(slices: SliceSet, patient: str) -> float:
    """Of the pixels in a patient's boxes, those that show the lesion."""
    mine = np.flatnonzero(slices.slices["patient_id"] == patient)
    boxes = slices.boxes_by_slice()
    inside = [slices.images[row][int(y0) : int(y1), int(x0) : int(x1)] for row in mine for x0, y0, x1, y1 in boxes[row]]
    return float(np.mean([(pixels > 190).mean() for pixels in inside]))


@pytest.mark.parametrize("mask", [True, False])
def test_a_cut_lesion_is_given_back_and_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture, mask: bool) -> None:
    folder = cut_cohort(tmp_path / "cohort", mask)
    kept, lost = prepared(folder, CONFIG, "kept"), prepared(folder, NOT_KEPT, "lost")
    assert brightest_share(kept, "P000") > 1.5 * brightest_share(lost, "P000")
    about = kept.meta["volumes"]["P000/t1c.nii.gz"]
    assert about["strip"]["method"] == "given"
    (lesion,) = about["lesions_cut"]
    assert lesion["given_back"]
    assert lesion["cut"] == lesion["voxels"] / 2
    assert lesion["worst_share"] == pytest.approx(0.5, abs=0.1)
    assert f"of {lesion['voxels']} voxels of lesion 1, " in caplog.text
    assert not lost.meta["volumes"]["P000/t1c.nii.gz"]["lesions_cut"][0]["given_back"]
    assert "lesions_cut" not in kept.meta["volumes"]["P002/t1c.nii.gz"]
    if mask:  # one voxel of twenty at the border is counted, and changes nothing
        (small,) = kept.meta["volumes"]["P001/t1c.nii.gz"]["lesions_cut"]
        assert (small["cut"], small["given_back"]) == (1, False)
        rows = np.flatnonzero(kept.slices["patient_id"] == "P001")
        assert np.array_equal(kept.images[rows], lost.images[rows])


def test_what_is_given_back_is_that_lesion_with_a_margin() -> None:
    labels = np.zeros((20, 20, 6), np.int32)
    labels[4:8, 4:8, 2:4], labels[14:16, 14:16, 2:4] = 1, 2
    mask = np.zeros(labels.shape, bool)
    mask[:6] = True
    mask[14:16, 14:16, 2:4] = True
    joined, cut = give_back(mask, Lesions(labels, labels), SPACING, StripConfig(lesion_margin_mm=3.0))
    assert [(lesion.lesion, lesion.voxels, lesion.cut) for lesion in cut] == [(1, 32, 16)]
    assert (joined & ~mask).sum() == 2 * (2 * 4 + 2 * 2 + 4)
    assert np.array_equal(joined[12:], mask[12:])
    mask[:6] = False
    assert not give_back(mask, Lesions(labels, labels), SPACING, StripConfig())[1][0].given_back


@pytest.mark.parametrize(("gap", "given_back", "mask"), [(0, True, True), (2, False, True), (2, False, False)])
def test_no_box_is_kept_over_a_lesion_that_the_strip_removes_wholly(
    tmp_path: Path, gap: int, given_back: bool, mask: bool
) -> None:
    """Beside the brain it is given back; further away its boxes, though wide enough to hold brain, are left out."""
    folder = make_cohort(tmp_path / "cohort", mask=mask)
    volume, brain = stripped_brain(), (stripped_brain() > 0).astype(np.uint8)
    volume[34:38, 30:35, 20] = 200
    brain[tuple(slice(side.start - gap, side.stop + gap) for side in LESION)] = 0
    save(folder / "P000" / "t1c.nii.gz", volume)
    save(folder / "P000" / "brain.nii.gz", brain)
    subjects = read_manifest(folder)
    subjects[0]["brain"] = "P000/brain.nii.gz"
    write_manifest(folder, subjects)
    if mask:
        labels = np.zeros(volume.shape, np.uint8)
        labels[LESION] = labels[34:38, 30:35, 20] = 1
        save(folder / "P000" / "mask.nii.gz", labels)
    else:
        with (folder / "P000" / "boxes.csv").open("a") as file:
            file.write("20,34,30,38,35,P000\n")
    slices = prepared(folder, PrepareConfig(size=64, min_box_pixels=16), "slices")
    about = slices.meta["volumes"]["P000/t1c.nii.gz"]
    (lesion,) = about["lesions_cut"]
    assert (lesion["given_back"], lesion["cut"]) == (given_back, lesion["voxels"])
    assert (about["boxes"], about["boxes_outside_brain"]) == ((4, 0) if given_back else (1, 3))


def test_the_lesion_of_a_box_is_its_ellipse() -> None:
    boxes = pd.DataFrame({"z": [1, 2], "x0": [2, 5], "y0": [3, 5], "x1": [12, 6], "y1": [13, 6], "lesion": [1, 2]})
    lesions = lesions_of_boxes(boxes, (20, 20, 4))
    assert (lesions.whole == 1).sum() == pytest.approx(np.pi * 25, rel=0.05)
    assert (lesions.surely == 1).sum() == pytest.approx(np.pi * 6.25, rel=0.2)
    assert (lesions.surely == 2).sum() == (lesions.whole == 2).sum() == 1


def test_the_default_strip_is_in_no_key() -> None:
    assert "strip" not in PrepareConfig().model_dump_json()
    assert '"keep_lesions":false' in NOT_KEPT.model_dump_json()
    assert PrepareConfig.model_validate_json(NOT_KEPT.model_dump_json()) == NOT_KEPT


def test_a_brain_mask_moves_with_its_cohort_and_counts_as_its_content(tmp_path: Path) -> None:
    folder = cut_cohort(tmp_path / "cohort", mask=True)
    cohort = open_cohort(folder)
    there = moved(cohort, tmp_path / "there")
    assert there.path(there.subjects[0].brain or "").resolve() == folder / "P000" / "brain.nii.gz"
    assert there.subjects[2].brain is None
    save(folder / "P000" / "brain.nii.gz", np.ones((3, 3, 3)))
    with pytest.raises(CohortError, match=r"P000/brain\.nii\.gz: shape \(3, 3, 3\) .*resample the mask"):
        prepared(folder, CONFIG, "slices")


def test_masks_that_do_not_look_like_brains_are_named() -> None:
    brain = stripped_brain() > 0
    halved, parted = brain.copy(), brain.copy()
    halved[40:, :, 20:] = False
    parted[28:32] = False
    usual = {"brain_ml": 1300.0, "strip": mask_shape(brain, SPACING)}
    assert usual["strip"] == {"parts": 1, "symmetry": 1.0}
    volumes = {f"v{number}": {**usual, "brain_ml": 1300.0 + 20 * number} for number in range(9)}
    assert odd_masks(volumes) == {}
    volumes["halved"] = {**usual, "strip": mask_shape(halved, SPACING)}
    volumes["parted"] = {**usual, "strip": mask_shape(parted, SPACING)}
    volumes["small"] = {**usual, "brain_ml": 700.0}
    odd = odd_masks(volumes)
    assert odd.keys() == {"halved", "parted", "small"}
    assert odd["halved"].startswith("symmetry 0.")
    assert odd["parted"] == "2 parts"
    assert odd["small"] == "700 ml, median 1,350 ml"
