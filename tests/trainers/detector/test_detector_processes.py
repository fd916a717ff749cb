"""What needs processes of its own: several ranks, and what a run leaves outside its folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from tests.trainers.disc_slices import FolderContext, tiny_config
from trainers.data.slice_set import SliceSet, open_slice_set

RANKS = 2


def rank_trains(rank: int, slices: Path, folder: Path) -> None:
    """As a Ray Train worker does: environment and process group first, then the training loop."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(RANKS))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    from trainers.detector.training import train_detector

    context = FolderContext(folder / f"checkpoint-{rank}", rank, RANKS)
    train_detector(tiny_config(), open_slice_set(slices), [], 0, folder / "out", context)
    (folder / f"reports-{rank}.json").write_text(json.dumps(context.reports))
    distributed.destroy_process_group()


def test_two_ranks_train_one_network(tmp_path: Path, discs: SliceSet) -> None:
    spawn(rank_trains, (discs.path, tmp_path), nprocs=RANKS)

    reports = [json.loads((tmp_path / f"reports-{rank}.json").read_text()) for rank in range(RANKS)]
    losses = [[metrics["detector/loss"] for *_, metrics in found if "detector/loss" in metrics] for found in reports]
    assert len(losses[0]) == len(losses[1]) == 6
    assert min(losses[0] + losses[1]) > 0
    assert losses[0] != losses[1], "each rank has its own share of the batch"
    states = [
        torch.load(tmp_path / f"checkpoint-{rank}" / "detector.pt", weights_only=True)["model"] for rank in range(RANKS)
    ]
    moved = [name for name in states[0] if name.endswith("weight")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in moved)
    start = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert set(start) == set(states[0])


ALONE = """
import sys
events = []
sys.addaudithook(lambda event, args: events.append((event, str(args))) if event.startswith("socket.") else None)
from pathlib import Path
from tests.trainers.disc_slices import FolderContext, tiny_config
from trainers.data.slice_set import open_slice_set
from trainers.detector.training import train_detector
import torch
torch.set_num_threads(2)
train_detector(tiny_config(steps=2), open_slice_set(Path(sys.argv[1])), [], 0, Path(sys.argv[2]),
               FolderContext(Path(sys.argv[2]) / "checkpoint"))
calls = [event for event in events if event[0] in ("socket.connect", "socket.getaddrinfo", "socket.sendto")]
assert not calls, calls
assert torch.get_num_threads() == 2
import os
assert "OMP_NUM_THREADS" not in os.environ
"""


def test_a_run_opens_no_connection_and_leaves_nothing_behind(tmp_path: Path, discs: SliceSet) -> None:
    for name in ("home", "here", "temporary", "out"):
        (tmp_path / name).mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "WORLD_SIZE")}
    environment |= {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "MPLCONFIGDIR": str(tmp_path / "matplotlib"),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    subprocess.run(
        [sys.executable, "-c", ALONE, str(discs.path), str(tmp_path / "out")],
        cwd=tmp_path / "here",
        env=environment,
        check=True,
    )
    left = [path.name for name in ("home", "here", "temporary") for path in (tmp_path / name).iterdir()]
    assert [name for name in left if not name.startswith("torchinductor")] == [], "torch's own cache apart"
