"""Several ranks end together, for whichever reason one of them knows first."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import distributed as group

from tests.trainers.ranks import RANKS, join_group, run_ranks
from trainers import distributed
from trainers.checkpoints import FolderCheckpoints
from trainers.distributed import STOP_POINTS_AGREED, Context, Placement, left_its_node
from trainers.exceptions import NodeTakenAwayError, StopRequestedError

KNOWN_AT = 5
"""The stop point from which on a rank knows a reason to end."""
STEP_S = 0.02


def write(step: int, fresh: Path) -> None:
    (fresh / "step").write_text(str(step))


def train(rank: int, folder: Path, taken_away: bool, asked_to_stop: bool, agree_s: float) -> None:
    """Rank 1 knows that its node will be taken away, rank 0 that the run is asked to stop."""
    join_group(rank, folder)
    distributed.AGREE_S = agree_s
    step = 0
    context = Context(
        Placement(rank, RANKS, torch.device("cpu")),
        FolderCheckpoints(folder / "checkpoints"),
        lambda *_: None,
        asked_to_stop=lambda: asked_to_stop and step >= KNOWN_AT,
        taken_away=lambda: taken_away and rank == 1 and step >= KNOWN_AT,
    )
    try:
        while step < 100:
            time.sleep(STEP_S)
            step += 1
            context.stop_point(partial(write, step))
    except StopRequestedError as error:
        (folder / f"ended-{rank}.json").write_text(json.dumps([step, type(error).__name__]))
    group.destroy_process_group()


def ended(folder: Path) -> tuple[int, str]:
    """At which step and why; every rank says the same, and the checkpoint is of that step."""
    said = [json.loads((folder / f"ended-{rank}.json").read_text()) for rank in range(RANKS)]
    assert said[0] == said[1]
    step, why = said[0]
    assert (folder / "checkpoints" / "latest" / "step").read_text() == str(step)
    return step, why


def test_all_ranks_leave_when_the_node_of_one_is_taken_away(tmp_path: Path) -> None:
    run_ranks(train, tmp_path, True, False, 60.0)
    step, why = ended(tmp_path)
    assert why == "NodeTakenAwayError"
    assert KNOWN_AT <= step <= KNOWN_AT + STOP_POINTS_AGREED


def test_slow_steps_are_not_waited_for(tmp_path: Path) -> None:
    """Where a step takes longer than the ranks go without asking, they ask after each."""
    run_ranks(train, tmp_path, True, False, STEP_S / 2)
    assert ended(tmp_path) == (KNOWN_AT, "NodeTakenAwayError")


def test_a_person_who_asks_the_run_to_end_goes_first(tmp_path: Path) -> None:
    run_ranks(train, tmp_path, True, True, STEP_S / 2)
    assert ended(tmp_path) == (KNOWN_AT, "StopRequestedError")


@pytest.mark.parametrize(
    ("error", "left"), [(NodeTakenAwayError(""), True), (StopRequestedError(""), False), (None, False)]
)
def test_only_a_run_that_left_its_node_begins_again(error: Exception | None, left: bool) -> None:
    def run() -> None:
        if error is not None:
            raise error

    assert left_its_node(run) is left
