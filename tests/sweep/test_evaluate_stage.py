"""Where stage `evaluate` computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweep.plan import Plan
from sweep.store import Store
from trainers.checkpoints import FolderCheckpoints
from trainers.distributed import Context, Placement


def test_the_network_runs_on_the_device_that_the_stage_holds(plan: Plan, full_store: Store, tmp_path: Path) -> None:
    """On torch's `meta` device, which holds no values: nothing can be copied from there, as from the CPU it could."""
    stage = plan.trials[0].evaluate
    inputs = {name: full_store.local / one.name / one.key for name, one in stage.inputs.items()}
    context = Context(Placement(0, 1, torch.device("meta")), FolderCheckpoints(tmp_path), lambda *_: None)
    with pytest.raises(RuntimeError, match="meta"):
        stage.run(inputs, tmp_path / "out", context)
