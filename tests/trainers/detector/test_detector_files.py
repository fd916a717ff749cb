"""Checkpoints of a detector that are not whole are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainers.detector.checkpoint import FILE, RunState, load_state, save_state
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
