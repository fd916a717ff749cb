"""Imports under pseudonyms name the user's own files where these are wrong, and refuse them before they are copied."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header, Nifti1Image

from tests.trainers.data.phantom import SHAPE, save, stripped_brain
from trainers.data.importing import import_cohort
from trainers.data.layouts import table
from trainers.data.layouts.contract import Tree
from trainers.data.layouts.pseudonyms import pseudonymised
from trainers.exceptions import CohortError


def imported(folder: Path, annotation: str) -> None:
    (folder / "t.csv").write_text(f"patient_id,volume,{annotation.partition('.')[0]}\nA1,a1.nii.gz,{annotation}\n")
    out = folder / "out"
    out.mkdir()
    layout = pseudonymised(table.TABLE, b"0123456789abcdef")
    import_cohort(layout, Tree.of(folder / "t.csv"), out, out, lambda *_: None)


def bomb(path: Path) -> None:
    header = Nifti1Header()
    header.set_data_shape((256, 512, 512))
    header.set_data_dtype(np.uint8)
    image = Nifti1Image(np.zeros((1, 1, 1), np.uint8), np.eye(4), header)
    content = bytearray(image.to_bytes()[:352])
    content[40:56] = np.array([3, 256, 512, 512, 1, 1, 1, 1], np.int16).tobytes()
    path.write_bytes(gzip.compress(content, 1))


def test_a_volume_of_next_to_nothing_is_refused_before_it_is_written_anew(tmp_path: Path) -> None:
    bomb(tmp_path / "a1.nii.gz")
    save(tmp_path / "mask.nii.gz", np.ones(SHAPE, np.uint8))
    with pytest.raises(
        CohortError, match=rf"{tmp_path}/a1\.nii\.gz: its header declares 67,108,864 voxels in a file of"
    ):
        imported(tmp_path, "mask.nii.gz")
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


@pytest.mark.parametrize("annotation", ["mask.nii.gz", "boxes.csv"])
def test_errors_name_the_file_that_the_user_knows(tmp_path: Path, annotation: str) -> None:
    save(tmp_path / "a1.nii.gz", stripped_brain())
    save(tmp_path / "mask.nii.gz", np.full(SHAPE, 0.5, np.float32))
    (tmp_path / "boxes.csv").write_text("z,x0,y0,x1,y1\n18,20,30,999,35\n")
    with pytest.raises(CohortError) as refused:
        imported(tmp_path, annotation)
    assert f"{tmp_path}/{annotation}" in str(refused.value)
    assert str(tmp_path / "out") not in str(refused.value)
