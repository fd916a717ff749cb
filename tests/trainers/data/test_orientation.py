"""Headers that say in two ways where the voxels lie, and mean different places, are refused; rounding is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nibabel.eulerangles import euler2mat
from nibabel.nifti1 import Nifti1Image

from trainers.data.volume_file import load_image
from trainers.exceptions import CohortError

AFFINE = np.array([[-0.9, 0, 0, 90], [0, 0.9, 0, -110], [0, 0, 3.5, -70], [0, 0, 0, 1.0]])


def written(
    path: Path,
    qform: np.ndarray,
    codes: tuple[int, int] = (1, 1),
    sform: np.ndarray = AFFINE,
    change: Callable[[Nifti1Image], object] = lambda _: None,
) -> Path:
    """A file with these forms."""
    image = Nifti1Image(np.zeros((8, 8, 8), np.int16), sform)
    image.header.set_qform(qform, codes[0], strip_shears=True)
    image.header.set_sform(sform, codes[1])
    change(image)
    path.write_bytes(image.to_bytes())
    return path


def turned(degrees: float) -> np.ndarray:
    return np.vstack([np.column_stack([euler2mat(np.radians(degrees)) @ AFFINE[:3, :3], AFFINE[:3, 3]]), AFFINE[3]])


def shifted(mm: float) -> np.ndarray:
    return AFFINE + np.array([[0, 0, 0, mm]] + 3 * [[0] * 4])


MIRRORED = np.diag([-1.0, 1, 1, 1]) @ AFFINE


@pytest.mark.parametrize(
    ("qform", "codes", "message"),
    [
        (MIRRORED, (1, 1), r"its qform and sform differ by 180 degrees in an axis; allowed: 0\.2"),
        (MIRRORED, (1, 4), r"differ by 180 degrees in an axis; allowed: 45"),
        (turned(90), (1, 2), "differ by 90 degrees in an axis"),
        (turned(1), (1, 1), "differ by 1 degrees in an axis"),
        (shifted(30), (1, 1), r"of one space \(code 1\), place the first voxel 30 mm apart; allowed: 0\.5 voxels"),
    ],
)
def test_forms_that_contradict_each_other_are_refused(
    tmp_path: Path, qform: np.ndarray, codes: tuple[int, int], message: str
) -> None:
    with pytest.raises(CohortError, match=rf"v\.nii: .*{message}"):
        load_image(written(tmp_path / "v.nii", qform, codes))


@pytest.mark.parametrize(
    ("qform", "codes"),
    [
        (shifted(0.3), (1, 1)),
        (turned(0.05), (2, 2)),
        (turned(10) + shifted(30) - AFFINE, (1, 4)),  # SPM: the scanner's space, and one that it was registered to
        (MIRRORED, (0, 2)),  # nibabel
    ],
)
def test_forms_that_programs_write_side_by_side_pass(tmp_path: Path, qform: np.ndarray, codes: tuple[int, int]) -> None:
    affine = load_image(written(tmp_path / "v.nii", qform, codes)).affine
    assert affine is not None
    assert np.allclose(affine, AFFINE)


def test_what_rounding_does_to_a_quaternion_passes(tmp_path: Path) -> None:
    """Half turns about oblique axes are worst: the quaternion's real part is a root of what was rounded."""
    for angles in np.random.default_rng(0).uniform(-np.pi, np.pi, (50, 3)):
        axis = euler2mat(*angles)[0]
        affine = AFFINE.copy()
        affine[:3, :3] = (2 * np.outer(axis, axis) - np.eye(3)) * [0.25, 0.25, 0.3]
        load_image(written(tmp_path / "v.nii", affine, sform=affine))


def test_sizes_of_voxels_that_contradict_the_affine_are_refused(tmp_path: Path) -> None:
    path, plain = tmp_path / "v.nii", np.diag([1.0, 1, 1, 1])
    with pytest.raises(CohortError, match=r"its sform has voxels of 1 x 1 x 1 mm, pixdim is 0\.9 x 0\.9 x 3\.5; all"):
        load_image(written(path, AFFINE, (0, 1), plain))
    load_image(written(path, AFFINE * 1.005, (0, 1)))


@pytest.mark.parametrize(("unit", "name"), [(1, "metre"), (3, "micrometre"), (5, "of the unknown code 5")])
def test_other_units_than_millimetres_are_refused(tmp_path: Path, unit: int, name: str) -> None:
    def change(image: Nifti1Image) -> None:
        image.header["xyzt_units"] = unit + 8  # and seconds

    with pytest.raises(CohortError, match=rf"its spatial unit \(xyzt_units\) is {name}; allowed: millimetre, or unkno"):
        load_image(written(tmp_path / "v.nii", AFFINE, change=change))
