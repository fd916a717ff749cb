"""Boxes of a volume, the lesions and false positives that they make, and their frames on the grid of its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine
from nibabel.loadsave import load
from nibabel.nifti1 import Nifti1Image

from dashboards.volumes.findings import Finding, boxes_in, findings, frames, middle
from tests.trainers.data.phantom import save
from trainers.data.geometry import SliceGeometry
from trainers.evaluation.outcome import Truth, match_outcomes

CORNERS = ["x0", "y0", "x1", "y1"]
LESION, ELSEWHERE = (4, 4, 10, 12), (20, 20, 26, 25)


@pytest.fixture
def boxes() -> pd.DataFrame:
    """Of the volume `a`: a lesion on slices 5 to 7, found on 6; false positives on 6 and 7 that overlap, one on 9."""
    places = [("a", 5), ("a", 6), ("a", 7), ("a", 9), ("b", 6)]
    slices = pd.DataFrame(places, columns=["volume", "z"]).assign(slice_id=list("pqrst"), patient_id="P", scanner="S")
    lesions = pd.DataFrame([(i, *LESION, 1.0, 8.0) for i in (0, 1, 2, 4)])
    lesions.columns = ["slice", *CORNERS, "lesion", "diameter_mm"]
    detections = [(1, *LESION, 0.7), (1, *ELSEWHERE, 0.5), (2, *ELSEWHERE, 0.9), (3, *LESION, 0.6), (4, *LESION, 0.8)]
    table = pd.DataFrame(detections, columns=["slice", *CORNERS, "confidence"])
    return boxes_in(match_outcomes(table, Truth(slices, lesions), [0.5])[0.5], "a")


def test_boxes_are_those_of_the_volume_by_kind(boxes: pd.DataFrame) -> None:
    assert boxes["kind"].tolist() == ["missed", "found", "missed", "hit", "false", "false", "false"]
    assert boxes["z"].tolist() == [5, 6, 7, 6, 6, 7, 9]
    assert boxes["confidence"].fillna(0).tolist() == [0, 0.7, 0, 0.7, 0.5, 0.9, 0.6]


def test_a_lesion_and_overlapping_false_positives_are_one_finding_each(boxes: pd.DataFrame) -> None:
    assert findings(boxes) == [
        Finding("found", (5, 6, 7), 1, 0.7, 8.0, LESION),
        Finding("false", (6, 7), 0, 0.9, None, ELSEWHERE),
        Finding("false", (9,), 0, 0.6, None, LESION),
    ]
    assert findings(boxes.head(0)) == []
    twice = pd.concat([boxes, boxes[boxes["z"] == 9]], ignore_index=True)
    assert findings(twice)[-1].slices == (9,), "two that overlap on one slice"


@pytest.mark.parametrize("axes", ["RAS", "PSR"])
def test_frames_lie_where_the_boxes_do(tmp_path: Path, boxes: pd.DataFrame, axes: str) -> None:
    save(tmp_path / "v.nii", np.ones((40, 36, 12), np.float32), axes)
    image = load(tmp_path / "v.nii")
    assert isinstance(image, Nifti1Image)
    geometry = SliceGeometry.fit(image, 32, right=40, anterior=36, side_mm=32 * 3.0)
    hit, *_, last = (boxes.iloc[[row]] for row in (3, 4, 5, 6))
    mask = frames(pd.concat([hit, last]), geometry)
    assert np.unique(mask).tolist() == [0, 3, 4]
    world = apply_affine(image.affine, np.argwhere(mask == 3))
    low, high = geometry.to_world(hit[CORNERS].to_numpy(), hit["z"].to_numpy())[0]
    half = np.array([1.5, 1.5, 2.0])
    assert np.allclose([world.min(axis=0) - half, world.max(axis=0) + half], [low, high])
    assert (mask == 3).sum() == 2 * (6 + 8) - 4, "a frame one voxel wide, on one slice"
    assert np.allclose(middle(LESION, 6, geometry), (low + high) / 2, atol=0.06)


def test_a_box_beyond_the_volume_is_cut(tmp_path: Path, boxes: pd.DataFrame) -> None:
    save(tmp_path / "v.nii", np.ones((40, 36, 7), np.float32))
    image = load(tmp_path / "v.nii")
    assert isinstance(image, Nifti1Image)
    geometry = SliceGeometry.fit(image, 32, right=12, anterior=36, side_mm=32 * 3.0)
    mask = frames(boxes, geometry)
    assert mask.shape == image.shape
    assert mask[0].any(), "at its border"
