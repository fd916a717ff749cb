"""Lesions of a volume: boxes linked over slices, and files that viewers open at the right place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nibabel.nifti1 import Nifti1Extension, Nifti1Image

from sweep.lesions import COLUMNS, MM, VOXELS, label_map, link, list_lesions, write_lesions
from tests.trainers.data.phantom import LESION, save, stripped_brain
from trainers.data.volume import SliceConfig, volume_slices
from trainers.data.volume_file import load_image

SECOND = (slice(40, 43), slice(20, 22), slice(25, 26))
CENTRE = [25.5, 9.0, -4.0]
"""Of LESION in the phantom's world, LPS+: 25.5 mm to the left, 9 mm to the back."""


def boxes_on_slices(*rows: tuple[float, ...]) -> pd.DataFrame:
    """z, x0, y0, x1, y1, confidence."""
    return pd.DataFrame(rows, columns=["z", "x0", "y0", "x1", "y1", "confidence"])


def test_boxes_that_overlap_from_slice_to_slice_are_one_lesion() -> None:
    boxes = boxes_on_slices(
        (3, 10, 10, 20, 20, 0.5),
        (3, 12, 10, 22, 20, 0.2),  # again on the same slice
        (4, 11, 11, 19, 19, 0.6),
        (4, 19, 10, 29, 20, 0.9),  # beside: an eighth of it in common
        (5, 13, 13, 18, 18, 0.3),  # overlaps that of slice 4 alone
        (7, 13, 13, 18, 18, 0.4),  # a slice between them
    )
    assert link(boxes).tolist() == [2, 2, 2, 1, 2, 3]
    assert link(boxes.iloc[::-1]).tolist() == [3, 2, 1, 2, 2, 2]
    assert link(boxes.iloc[:0]).tolist() == []


def located(volume: Path) -> tuple[pd.DataFrame, float]:
    """What a detector would find of both lesions, as `sweep.detect` places it; and millimetres per pixel."""
    slices = volume_slices(volume, SliceConfig(size=64), stripped=True)
    parts = []
    for (x, y, z), confidence in ((LESION, 0.9), (SECOND, 0.4)):
        z = np.arange(z.start, z.stop)
        pixels = slices.geometry.to_pixels(np.tile([x.start, y.start, x.stop, y.stop], (len(z), 1)))
        boxes = pd.DataFrame(pixels, columns=["x0", "y0", "x1", "y1"]).assign(z=z, confidence=confidence - 0.01 * z)
        boxes[VOXELS] = slices.geometry.to_file(pixels, z).reshape(-1, 6)
        boxes[MM] = slices.geometry.to_world(pixels, z).reshape(-1, 6)
        parts.append(boxes)
    return pd.concat(parts, ignore_index=True), slices.geometry.mm_per_pixel


@pytest.fixture(params=["RAS", "LPS", "LAS", "PSR", "SAL"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder with the lesions of a volume whose axes run so, beside the volume."""
    brain = stripped_brain()
    brain[SECOND] = 199
    save(tmp_path / "t1c.nii.gz", brain, request.param)
    boxes, mm_per_pixel = located(tmp_path / "t1c.nii.gz")
    lesion = link(boxes)
    rows = list_lesions(boxes, lesion, mm_per_pixel)
    write_lesions(load_image(tmp_path / "t1c.nii.gz"), boxes, lesion, rows, tmp_path)
    return tmp_path


def test_the_label_map_covers_the_lesions_and_lies_on_the_volume(written: Path) -> None:
    volume, labels = (Nifti1Image.from_filename(written / name) for name in ("t1c.nii.gz", "lesions.nii.gz"))
    assert labels.get_data_dtype() == np.uint16
    assert np.array_equal(np.asarray(labels.affine), np.asarray(volume.affine))
    for code in ("qform_code", "sform_code"):
        assert labels.header[code] == volume.header[code]
    grey = np.asarray(volume.dataobj)
    expected = np.where(grey == 200, 1, np.where(grey == 199, 2, 0))
    assert np.array_equal(np.asarray(labels.dataobj), expected)


def test_slicers_points_lie_in_the_lesions_and_are_not_flipped(written: Path) -> None:
    content = json.loads((written / "lesions.mrk.json").read_text())
    assert content["@schema"].endswith("markups-schema-v1.0.3.json#")
    (points,) = content["markups"]
    assert (points["type"], points["coordinateSystem"], points["coordinateUnits"]) == ("Fiducial", "LPS", "mm")
    first, second = points["controlPoints"]
    assert np.allclose(first["position"], CENTRE)
    labels = Nifti1Image.from_filename(written / "lesions.nii.gz")
    for number, point in ((1, first), (2, second)):
        assert point["label"] == f"lesion {number}"
        ras = np.array([-point["position"][0], -point["position"][1], point["position"][2], 1.0])
        voxel = np.rint((np.linalg.inv(np.asarray(labels.affine)) @ ras)[:3] - 1e-6).astype(int)
        assert labels.dataobj[tuple(voxel)] == number
    assert first["description"] == "confidence 0.72, 15.0 mm"


def test_the_list_names_extent_size_and_slices(written: Path) -> None:
    rows = pd.read_csv(written / "lesions.csv")
    assert tuple(rows.columns) == (*COLUMNS, "mm_space")
    first = rows.iloc[0]
    assert (first["lesion"], first["boxes"], first["first_slice"], first["last_slice"]) == (1, 3, 18, 20)
    assert np.allclose(first[["mm_x", "mm_y", "mm_z"]].astype(float), [-CENTRE[0], -CENTRE[1], CENTRE[2]])
    assert np.isclose(first["diameter_mm"], 15)
    assert np.isclose(first["mm_x1"] - first["mm_x0"], 12)
    assert np.isclose(first["mm_z1"] - first["mm_z0"], 12)


def test_no_text_of_the_volumes_header_goes_into_the_label_map(tmp_path: Path) -> None:
    save(tmp_path / "t1c.nii.gz", stripped_brain())
    volume = Nifti1Image.from_filename(tmp_path / "t1c.nii.gz")
    volume.header["descrip"] = b"DOE^JANE 1970-01-01"
    volume.header.extensions.append(Nifti1Extension("comment", b"DOE^JANE"))
    volume.to_filename(tmp_path / "named.nii.gz")
    boxes, _ = located(tmp_path / "t1c.nii.gz")
    label_map(load_image(tmp_path / "named.nii.gz"), boxes, link(boxes)).to_filename(tmp_path / "lesions.nii")
    assert b"DOE" not in (tmp_path / "lesions.nii").read_bytes()


def test_nothing_found_is_an_empty_list(tmp_path: Path) -> None:
    save(tmp_path / "t1c.nii.gz", stripped_brain())
    boxes, mm_per_pixel = located(tmp_path / "t1c.nii.gz")
    none = boxes.iloc[:0]
    write_lesions(
        load_image(tmp_path / "t1c.nii.gz"), none, link(none), list_lesions(none, link(none), mm_per_pixel), tmp_path
    )
    assert json.loads((tmp_path / "lesions.mrk.json").read_text())["markups"][0]["controlPoints"] == []
    assert not np.asarray(Nifti1Image.from_filename(tmp_path / "lesions.nii.gz").dataobj).any()
    assert len(pd.read_csv(tmp_path / "lesions.csv")) == 0
