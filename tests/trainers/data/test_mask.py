"""No lesion of a mask is lost or made up without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainers.data.phantom import LESION, SHAPE, make_cohort, save, stripped_brain
from trainers.data.annotation import read_boxes
from trainers.data.cohort import open_cohort
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.slice_set import open_slice_set
from trainers.data.volume_tasks import check_cohort
from trainers.exceptions import CohortError

KEEP = PrepareConfig(size=64, lesion_free_slices="keep")


def _mask(values: float = 1, dtype: type = np.uint8) -> np.ndarray:
    found = np.zeros(SHAPE, dtype)
    found[LESION] = values
    return found


def _noise() -> np.ndarray:
    found = np.zeros(SHAPE, np.int16)
    found[20:40, 20:40, 10:20] = np.random.default_rng(0).integers(1, 2000, (20, 20, 10))
    return found


@pytest.mark.parametrize("config", [PrepareConfig(size=64), KEEP])
@pytest.mark.parametrize(
    ("mask", "labels", "message"),
    [
        (_mask(0.5, np.float32), None, r"60 of its 168,000 voxels are no whole numbers \(0\.5\); allowed: one whole"),
        (_mask(1.5, np.float32), [1, 2], r"no whole numbers \(1\.5\)"),
        (_mask(0), None, 'shows no lesion, but the volume\'s kind is "tumour": its values are 0; needed: at least one'),
        (_mask(1e-4, np.float32), None, "shows no lesion"),
        (_mask(2), [1, 3], r"its values are 0, 2; needed: at least one of mask_labels 1, 3\. Correct"),
        (1 - _mask(), None, r"167,940 of its 168,000 voxels are lesion, 6,046 ml; .* turned inside out"),
        ((stripped_brain() > 0).astype(np.uint8), None, r"voxels are lesion, .*Is it the volume"),
        (np.rint(stripped_brain()), None, r"voxels are lesion, .*Its values are 0, .*, and \d+ more up to 200"),
        (_noise(), None, r"has 1,\d+ different values \(1, 2, .*more up to 1999\).*Is it an image"),
        (_noise(), [1, 3], r"has 1,\d+ different values"),
    ],
)
def test_refuses_a_mask_that_contradicts_itself(
    tmp_path: Path, mask: np.ndarray, labels: list[int] | None, message: str, config: PrepareConfig
) -> None:
    folder = make_cohort(tmp_path / "cohort", mask=True, mask_labels=labels)
    save(folder / "P000" / "mask.nii.gz", mask)
    with pytest.raises(CohortError, match=rf"(?s)^patient 'P000': .*mask\.nii\.gz: .*{message}"):
        check_cohort(open_cohort(folder), config)


@pytest.mark.parametrize("labels", [[], [0], [0, 1], [-1]])
def test_refuses_labels_that_select_nothing_or_the_background(tmp_path: Path, labels: list[int]) -> None:
    with pytest.raises(CohortError, match=r"mask_labels(\.0)? \(patient 'P000'\) (is|holds) "):
        open_cohort(make_cohort(tmp_path, mask=True, mask_labels=labels))


@pytest.mark.parametrize(
    ("mask", "labels"),
    [
        (_mask(1), None),
        (_mask(255), None),
        (_mask(3, np.float64), [1, 3]),
        (_mask(-1, np.int16), None),
        (_mask(1.0000001, np.float64), [1]),
        (np.where(_mask() > 0, 1, 1e-5).astype(np.float32), None),
    ],
)
def test_takes_every_value_that_is_lesion(tmp_path: Path, mask: np.ndarray, labels: list[int] | None) -> None:
    cohort = open_cohort(make_cohort(tmp_path, mask=True, mask_labels=labels))
    save(cohort.path("P000/mask.nii.gz"), mask)
    assert read_boxes(cohort, cohort.subjects[0])[["z", "x0", "y0", "x1", "y1"]].to_numpy().tolist() == [
        [z, 20, 30, 24, 35] for z in (18, 19, 20)
    ]


def test_refuses_a_volume_whose_boxes_all_lie_outside_the_brain(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort")
    (folder / "P001" / "boxes.csv").write_text("z,x0,y0,x1,y1\n20,0,0,2,2\n21,0,0,2,2\n")
    with pytest.raises(CohortError, match=r"patient 'P001': .*all 2 boxes of its lesions lie outside the brain"):
        prepare(open_cohort(folder), KEEP, tmp_path / "slices", lambda *_: None)


def test_a_slice_whose_boxes_are_left_out_is_not_called_normal(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort")
    (folder / "P000" / "boxes.csv").write_text("z,x0,y0,x1,y1\n18,20,30,24,35\n20,0,0,2,2\n")
    prepare(open_cohort(folder), KEEP, tmp_path / "slices", lambda *_: None)
    slices = open_slice_set(tmp_path / "slices").slices.set_index("slice_id")
    assert slices.loc["P000-z018", "kind"] == "tumour"
    assert slices.loc["P000-z019", "kind"] == "normal"
    assert "P000-z020" not in slices.index
