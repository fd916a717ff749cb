"""A detector's folder that is damaged, or something else's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainers.detector.selected import SELECTED
from tests.trainers.disc_slices import tiny_config
from trainers.detector.model import build_model
from trainers.detector.prediction import load_detector
from trainers.detector.selection import trained_on_synthetic, trained_slice_size, write_selection
from trainers.exceptions import TrainingError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "config.json").write_text(tiny_config().model_dump_json())
    write_selection(folder, SELECTED)
    torch.save(build_model(tiny_config()).state_dict(), folder / "model.pt")
    return folder


@pytest.fixture
def detector(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "detector")


def one_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 64
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def another_network(file: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), file)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (one_bit, r"is damaged.*the checksum of \S+ is wrong"),
        (cut, "is damaged, or holds no weights"),
        (another_network, r"holds other weights than those of \S+config\.json"),
        (lambda file: file.write_bytes(b""), "is damaged, or holds no weights"),
    ],
    ids=["bit", "cut", "other", "empty"],
)
def test_weights_that_are_not_the_detectors(detector: Path, damage: Callable[[Path], None], told: str) -> None:
    damage(detector / "model.pt")
    with pytest.raises(TrainingError, match=rf"model\.pt {told}.*Copy the whole folder again") as caught:
        load_detector(detector)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"{}x", b"\xff", b"[]", b'{"batch": 0, "colour": 1}'])
def test_a_config_that_is_none(detector: Path, content: bytes) -> None:
    (detector / "config.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"detector/config\.json is damaged, or not of this version") as caught:
        load_detector(detector)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize("content", [b"{}x", b"\xff", b"[]", b'{"slice_size": "many"}'])
def test_a_selection_that_is_none(detector: Path, content: bytes) -> None:
    assert (trained_slice_size(detector), trained_on_synthetic(detector)) == (32, 5)
    (detector / "selection.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"selection\.json is damaged: .*Copy the whole folder again"):
        trained_slice_size(detector)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nowhere is not a trained detector: there is no such folder"):
        load_detector(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match=r"it lacks config\.json and model\.pt"):
        load_detector(tmp_path)
