"""Results that were damaged after they were written are refused by every command that reads them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.plan import Plan
from sweep.store import Store
from tests.sweep.cli.conftest import Metsweep


def turn_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    file.write_bytes(content)


@pytest.fixture
def store(full_store: Store, tmp_path: Path) -> Path:
    return shutil.copytree(full_store.local, tmp_path / "store")


@pytest.fixture
def refused(metsweep: Metsweep) -> Callable[..., None]:
    def check(file: Path, told: str, *command: object) -> None:
        turn_a_bit(file)
        ended = metsweep(*command, "--out", "out")
        assert ended.code == 2, ended
        assert len(ended.err.splitlines()) == 1, ended.err
        assert f"{file} {told}" in ended.err
        assert not Path("out").exists()

    return check


def test_a_detector_of_a_store(store: Path, plan: Plan, cohort: Path, refused: Callable[..., None]) -> None:
    folder = store / "detector" / plan.trials[0].evaluate.detector.key
    detect = ("detect", cohort / "P000" / "t1c.nii.gz", "--model", folder)
    refused(
        folder / "config.json", "is damaged or was changed: its SHA-256 differs from the one in manifest.json", *detect
    )


@pytest.mark.parametrize("name", ["images.npy", "slices.parquet", "boxes.parquet", "meta.json"])
def test_a_slice_set_of_a_store(store: Path, plan: Plan, refused: Callable[..., None], name: str) -> None:
    evaluation = plan.trials[0].evaluate
    slices = store / "prepare" / evaluation.detector.slices.key
    detector = store / "detector" / evaluation.detector.key
    refused(slices / name, "is damaged or was changed", "evaluate", detector, slices)


@pytest.mark.parametrize("name", ["images.npy", "boxes.parquet"])
def test_a_result_by_hand(
    slices: Path, store: Path, plan: Plan, tmp_path: Path, refused: Callable[..., None], name: str
) -> None:
    mine = shutil.copytree(slices, tmp_path / "slices")
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=mine, check=True)
    detector = store / "detector" / plan.trials[0].evaluate.detector.key
    refused(
        mine / name,
        "is damaged or was changed: its SHA-256 differs from the one in SHA256SUMS",
        "evaluate",
        detector,
        mine,
    )


def test_checksums_that_are_none(slices: Path, tmp_path: Path, metsweep: Metsweep) -> None:
    mine = shutil.copytree(slices, tmp_path / "slices")
    (mine / "SHA256SUMS").write_text("what?\n")
    ended = metsweep("train", "detector", mine, "--out", "out")
    assert ended.code == 2
    assert "SHA256SUMS, line 1: is not a SHA-256" in ended.err


def test_a_model_folder_that_is_not_there(metsweep: Metsweep, cohort: Path) -> None:
    ended = metsweep("detect", cohort / "P000" / "t1c.nii.gz", "--model", "nosuchfolder", "--out", "out")
    assert ended.code == 2
    assert "nosuchfolder is not a trained detector: there is no such folder" in ended.err
