"""The slice set's form is checked when it is written and when it is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainers.data.slice_set import open_slice_set, write_slice_set
from trainers.exceptions import SliceSetError


@dataclass
class Parts:
    images: np.ndarray
    slices: pd.DataFrame
    boxes: pd.DataFrame

    def write(self, path: Path) -> None:
        write_slice_set(path, self.images, self.slices, self.boxes, {"size": 32})


@pytest.fixture
def parts() -> Parts:
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 32, 32), dtype=np.uint8)
    slices = pd.DataFrame(
        [
            ("a-z1", "a", "train", "s", "tumour", "a.nii", 1),
            ("a-z2", "a", "train", "s", "normal", "a.nii", 2),
            ("b-z1", "b", "validation", "s", "tumour", "b.nii", 1),
            ("c-z1", "c", "test", "s", "tumour", "c.nii", 1),
        ],
        columns=["slice_id", "patient_id", "split", "scanner", "kind", "volume", "z"],
    )
    boxes = pd.DataFrame(
        [("a-z1", 0, 0, 32, 32), ("c-z1", 1, 2, 3, 4), ("a-z1", 5, 6, 7, 8)],
        columns=["slice_id", "x0", "y0", "x1", "y1"],
    )
    return Parts(images, slices, boxes)


def test_what_is_written_is_read(tmp_path: Path, parts: Parts) -> None:
    parts.write(tmp_path / "set")
    found = open_slice_set(tmp_path / "set")
    assert isinstance(found.images, np.memmap)
    assert np.array_equal(found.images, parts.images)
    assert found.size == 32
    assert found.meta == {"size": 32}
    assert found.indices("train").tolist() == [0, 1]
    assert found.indices("train", "tumour").tolist() == [0]
    assert [boxes.tolist() for boxes in found.boxes_by_slice()] == [
        [[0, 0, 32, 32], [5, 6, 7, 8]],
        [],
        [],
        [[1, 2, 3, 4]],
    ]


def _change(frame: str, column: str, row: int, value: object) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        getattr(parts, frame).loc[row, column] = value

    return change


def _images(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        parts.images = make(parts.images)

    return change


def _without(parts: Parts) -> None:
    parts.slices = parts.slices.drop(columns="scanner")


REFUSALS = [
    (_images(lambda images: images.astype(np.float32)), "images are float32 .*allowed: uint8.*scale to 0..255"),
    (_images(lambda images: np.where(images, images, np.nan)), "images are float64"),
    (_images(lambda images: images[:, :16]), r"shape \(4, 16, 32\); allowed: uint8, N x S x S.*pad to a square"),
    (_images(lambda images: images[..., None]), r"shape \(4, 32, 32, 1\)"),
    (_images(lambda images: np.stack([images] * 3, axis=-1)), r"shape \(4, 32, 32, 3\); .*Keep one channel"),
    (_images(lambda images: images[:3]), "3 images but 4 rows"),
    (_without, r"slices\.parquet lacks the columns \['scanner'\]"),
    (_change("slices", "slice_id", 1, "a-z1"), r"slice_id 'a-z1' is listed more than once \(patient 'a'\)"),
    (_change("slices", "slice_id", 2, "a-z1"), r"slice_id 'a-z1' is listed more than once \(patient 'a', 'b'\)"),
    (_change("slices", "slice_id", 1, None), "row 1 of slices.parquet has no slice_id"),
    (_change("slices", "patient_id", 2, None), "row 2 of slices.parquet has no patient_id"),
    (
        _change("slices", "split", 3, "tset"),
        "'c-z1' of patient 'c' has the split 'tset'; allowed: train, validation, t",
    ),
    (_change("slices", "kind", 2, "cancer"), "'b-z1' of patient 'b' has the kind 'cancer'; allowed: tumour, normal"),
    (_change("slices", "split", 3, None), "'c-z1' of patient 'c' has the split nan"),
    (_change("slices", "split", 1, "test"), "patient 'a' is in more than one split"),
    (_change("boxes", "slice_id", 0, "z"), "a box belongs to slice 'z'"),
    (_change("boxes", "x1", 1, 1), r"slice 'c-z1' of patient 'c' has the box \[1, 2, 1, 4\]"),
    (_change("boxes", "y1", 1, 33), "patient 'c'.* allowed: numbers with x0 < x1 and y0 < y1 within 0 to 32"),
    (_change("boxes", "x0", 1, -1), "slice 'c-z1' of patient 'c' has the box"),
]


@pytest.mark.parametrize("column", ["x0", "y0", "x1", "y1"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, "three", None])
def test_refuses_coordinates_that_are_no_numbers(
    tmp_path: Path, parts: Parts, column: str, value: float | str | None
) -> None:
    parts.boxes = parts.boxes.astype({column: type(value) if isinstance(value, str) else np.float64})
    parts.boxes.loc[2, column] = value
    with pytest.raises(SliceSetError, match=r"slice 'a-z1' of patient 'a' has the box .*allowed: numbers"):
        parts.write(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_refuses_a_box_that_single_precision_leaves_without_area(tmp_path: Path, parts: Parts) -> None:
    """`boxes_by_slice` hands out float32."""
    parts.boxes = parts.boxes.astype({"x0": np.float64})
    parts.boxes.loc[0, "x0"] = 32 - 1e-9
    with pytest.raises(SliceSetError, match="slice 'a-z1' of patient 'a'"):
        parts.write(tmp_path)


@pytest.mark.parametrize(("change", "message"), REFUSALS)
def test_refuses_parts_that_do_not_fit(
    tmp_path: Path, parts: Parts, change: Callable[[Parts], None], message: str
) -> None:
    change(parts)
    with pytest.raises(SliceSetError, match=message):
        parts.write(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_refuses_an_incomplete_folder(tmp_path: Path, parts: Parts) -> None:
    parts.write(tmp_path)
    (tmp_path / "boxes.parquet").unlink()
    with pytest.raises(SliceSetError, match=r"it lacks boxes\.parquet"):
        open_slice_set(tmp_path)


@pytest.mark.parametrize("name", ["images.npy", "slices.parquet", "boxes.parquet", "meta.json"])
def test_refuses_a_file_that_is_cut_off(tmp_path: Path, parts: Parts, name: str) -> None:
    parts.write(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SliceSetError, match=rf"{name} cannot be read .*is it complete"):
        open_slice_set(tmp_path)
