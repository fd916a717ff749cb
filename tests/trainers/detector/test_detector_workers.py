"""Several ranks against one, and their parts: the loss, batch norm and the state over ranks."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import ProcessRaisedException

from tests.trainers.disc_slices import FolderContext, tiny_config
from tests.trainers.ranks import RANKS, join_group, run_ranks
from trainers.data.slice_set import SliceSet, open_slice_set

GRADIENT_TOLERANCE = 5e-4
"""Of the first step, relative to the length of all gradients."""
LOSS_TOLERANCE = 5e-3
"""After 6 steps, relative. Adam's first steps are as long for a gradient of rounding errors as for any other: one
worker on two threads is as far from one worker on one (README.md)."""
WEIGHT_TOLERANCE = 4e-3
"""After 6 steps, absolute."""
RESUME_TOLERANCE = 1e-6


def rank_trains(rank: int, slices: Path, folder: Path, first_alone: bool = False, dies_at: int | None = None) -> None:
    """`first_alone`: also a run of one step, in a folder of its own."""
    join_group(rank, folder / "group")
    from trainers.detector.training import train_detector

    if first_alone:
        first = FolderContext(folder / "first" / "checkpoint", rank, RANKS)
        train_detector(tiny_config(steps=1), open_slice_set(slices), [], 0, folder / "first" / f"out-{rank}", first)
    context = FolderContext(folder / "checkpoint", rank, RANKS, dies_at)
    train_detector(tiny_config(), open_slice_set(slices), [], 0, folder / f"out-{rank}", context)
    (folder / f"reports-{rank}.json").write_text(json.dumps(context.reports))
    distributed.destroy_process_group()


def losses(reports: Any) -> list[float]:
    return [metrics["detector/loss"] for *_, metrics in reports if "detector/loss" in metrics]


def last_state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint" / "detector.pt", weights_only=True)


@pytest.fixture(scope="module")
def together(discs: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks leave that nothing disturbed."""
    folder = tmp_path_factory.mktemp("together")
    run_ranks(rank_trains, discs.path, folder, True)
    return folder


def first_gradient(folder: Path) -> torch.Tensor:
    """All gradients of the first step, clipped, times a constant: Adam's first moment."""
    return torch.cat([state["exp_avg"].flatten() for state in last_state(folder)["optimizer"]["state"].values()])


def test_the_gradients_are_those_of_one_rank_with_the_whole_batch(
    tmp_path: Path, discs: SliceSet, together: Path
) -> None:
    from trainers.detector.training import train_detector

    train_detector(tiny_config(steps=1), discs, [], 0, tmp_path / "out", FolderContext(tmp_path / "checkpoint"))
    one, two = first_gradient(tmp_path), first_gradient(together / "first")
    assert (two - one).norm() < GRADIENT_TOLERANCE * one.norm()


def test_two_ranks_train_as_one_with_the_whole_batch(tmp_path: Path, discs: SliceSet, together: Path) -> None:
    from trainers.detector.training import train_detector

    context = FolderContext(tmp_path / "checkpoint")
    train_detector(tiny_config(), discs, [], 0, tmp_path / "out", context)

    first, second = (losses(json.loads((together / f"reports-{rank}.json").read_text())) for rank in range(RANKS))
    assert first == second
    assert len(first) == 6
    assert min(first) > 0
    assert first == pytest.approx(losses(context.reports), rel=LOSS_TOLERANCE)
    one, two = last_state(tmp_path), last_state(together)
    for part in ("model", "ema"):
        assert one[part].keys() == two[part].keys()
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=0, atol=WEIGHT_TOLERANCE, msg=name)
    assert not (together / "out-1").exists(), "rank 0 alone writes"


def test_two_killed_ranks_continue_as_if_nothing_had_happened(tmp_path: Path, discs: SliceSet, together: Path) -> None:
    with pytest.raises(ProcessRaisedException, match="killed by the test"):
        run_ranks(rank_trains, discs.path, tmp_path, False, 5)
    (tmp_path / "group" / "rendezvous").unlink()
    assert last_state(tmp_path)["step"] == 4
    run_ranks(rank_trains, discs.path, tmp_path)

    reports = json.loads((tmp_path / "reports-1.json").read_text())
    assert reports[0][0] == 5, "rank 1 continues after rank 0's checkpoint of step 4"
    straight, resumed = last_state(together), last_state(tmp_path)
    for part in ("model", "ema"):
        for name, value in straight[part].items():
            torch.testing.assert_close(resumed[part][name], value, rtol=0, atol=RESUME_TOLERANCE)


def absent(path: str, mode: str) -> NoReturn:
    raise FileNotFoundError(path, mode)


def rank_normalises(rank: int, folder: Path, memory: Path, apart: bool) -> None:
    join_group(rank, folder)
    from trainers.detector import exchange
    from trainers.detector.workers import normalise_over_ranks

    exchange.MEMORY = memory
    if apart and rank == 1:
        setattr(exchange, "open", absent)  # noqa: B010
    saved = torch.load(folder / "whole.pt")
    layers = nn.Sequential(nn.BatchNorm2d(3, eps=1e-3, momentum=0.03))
    layers.load_state_dict(saved["layers"])
    normalise_over_ranks(layers, torch.device("cpu"))
    half = saved["x"].chunk(RANKS)[rank].requires_grad_()
    out = layers(half)
    out.backward(saved["gradient"].chunk(RANKS)[rank])
    parameters = [parameter.grad for parameter in layers.parameters()]
    torch.save((out.detach(), half.grad, parameters, layers.state_dict(), layers.eval()(half)), folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("form", "memory", "apart"),
    [
        (torch.contiguous_format, "/nowhere", False),
        (torch.channels_last, "/dev/shm", False),
        (torch.contiguous_format, "/dev/shm", True),
    ],
    ids=["contiguous, by gloo", "channels last, in shared memory", "each rank with a memory of its own"],
)
def test_batch_norm_is_that_of_the_whole_batch(
    tmp_path: Path, form: torch.memory_format, memory: str, apart: bool
) -> None:
    torch.manual_seed(0)
    x = (torch.randn(6, 3, 5, 4) * torch.tensor([1.0, 3, 0.1]).view(1, 3, 1, 1) + 2).contiguous(memory_format=form)
    gradient = torch.randn(6, 3, 5, 4).contiguous(memory_format=form)
    layers = nn.Sequential(nn.BatchNorm2d(3, eps=1e-3, momentum=0.03))
    nn.init.uniform_(layers[0].weight)  # pyright: ignore[reportArgumentType]
    nn.init.uniform_(layers[0].bias)  # pyright: ignore[reportArgumentType]
    torch.save({"layers": layers.state_dict(), "x": x, "gradient": gradient}, tmp_path / "whole.pt")
    x.requires_grad_()
    out = layers(x)
    out.backward(gradient)

    before = set(Path("/dev/shm").iterdir())
    run_ranks(rank_normalises, tmp_path, Path(memory), apart)
    assert not [path for path in set(Path("/dev/shm").iterdir()) - before if path.name.startswith("metsweep-")]
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS)]
    assert_close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    assert_close(torch.cat([half[0] for half in halves]), out)
    assert_close(torch.cat([half[1] for half in halves]), x.grad)
    for i, parameter in enumerate(layers.parameters()):
        assert_close(halves[0][2][i] + halves[1][2][i], parameter.grad)
    for half in halves:
        assert_close(half[3], layers.state_dict())
    assert_close(torch.cat([half[4] for half in halves]), layers.eval()(x))
