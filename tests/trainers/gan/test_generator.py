"""A GAN's folder that is damaged or of two GANs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainers.exceptions import TrainingError
from trainers.gan.generator import load_generator


def cut(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:1000])


def empty(weights: Path) -> None:
    weights.write_bytes(b"")


def text(weights: Path) -> None:
    weights.write_text("not weights")


def one_bit(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 64
    weights.write_bytes(content)


def of_another_network(weights: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), weights)


def of_another_width(weights: Path) -> None:
    loaded = torch.load(weights, weights_only=True)
    torch.save({name: value.flatten()[:1] for name, value in loaded.items()}, weights)


def no_weights(weights: Path) -> None:
    torch.save([1, 2], weights)


def numbers(weights: Path) -> None:
    torch.save({1: 2}, weights)


def whole_model(weights: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), weights)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (one_bit, r"is damaged.*the checksum of \S+ is wrong"),
        (cut, "is damaged, or holds no weights"),
        (empty, "is damaged, or holds no weights"),
        (text, "is damaged, or holds no weights"),
        (whole_model, "is damaged, or holds no weights"),
        (of_another_network, "holds other weights"),
        (of_another_width, "holds other weights"),
        (no_weights, "holds other weights"),
        (numbers, "holds other weights"),
    ],
)
def test_weights_that_are_not_the_generators(
    gan: Path, tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    copy = tmp_path / "gan"
    shutil.copytree(gan, copy)
    damage(copy / "generator.pt")
    with pytest.raises(TrainingError, match=rf"generator\.pt {told}.*Copy the whole folder again") as caught:
        load_generator(copy, torch.device("cpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"{}x", b"\xff\xfe", b"[]", b'{"batch": 2, "steps": 3}'])
def test_config_that_is_none(gan: Path, tmp_path: Path, content: bytes) -> None:
    copy = tmp_path / "gan"
    shutil.copytree(gan, copy)
    (copy / "config.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"gan/config\.json is damaged, or not of this version") as caught:
        load_generator(copy, torch.device("cpu"))
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nowhere is not a trained GAN: there is no such folder"):
        load_generator(tmp_path / "nowhere", torch.device("cpu"))
    with pytest.raises(TrainingError, match=r"it lacks config\.json and generator\.pt"):
        load_generator(tmp_path, torch.device("cpu"))
