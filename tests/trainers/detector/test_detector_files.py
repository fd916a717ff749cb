"""Weights and checkpoints of a detector that are not whole are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainers.disc_slices import tiny_config
from trainers.detector.checkpoint import FILE, RunState, load_state, save_state
from trainers.detector.model import build_model
from trainers.detector.prediction import load_detector
from trainers.exceptions import TrainingError

DAMAGE = {
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "text": lambda _: b"weights",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_checkpoint_that_is_not_whole(tmp_path: Path, how: str) -> None:
    save_state(tmp_path, RunState("me", 3, model={"weight": torch.ones(8)}))
    assert load_state(tmp_path, "me").step == 3
    path = tmp_path / FILE
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    with pytest.raises(TrainingError, match=r"detector\.pt cannot be read \(.+\)\. Remove the folder") as raised:
        load_state(tmp_path, "me")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("how", [*DAMAGE, "others"])
def test_weights_that_are_not_whole(tmp_path: Path, how: str) -> None:
    config, path = tiny_config(), tmp_path / "model.pt"
    (tmp_path / "config.json").write_text(config.model_dump_json())
    torch.save(build_model(config).state_dict() if how != "others" else {"weight": torch.ones(8)}, path)
    if how != "others":
        load_detector(tmp_path)
        path.write_bytes(DAMAGE[how](path.read_bytes()))
    with pytest.raises(TrainingError, match=r"model\.pt cannot be read as this detector's weights \(.+\)") as raised:
        load_detector(tmp_path)
    assert "\n" not in str(raised.value)
