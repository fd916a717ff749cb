"""Training of inpainters: exact resume, several workers, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.gan.tiny_runs import Interruptible, KilledError
from tests.trainers.inpainting.painted import losses, tiny, trained
from tests.trainers.pasting.brains import make_brains
from tests.trainers.ranks import join_group, run_ranks
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.distributed import Context, Placement
from trainers.exceptions import StopRequestedError, TrainingError
from trainers.inpainting.config import WEIGHTS_FILE
from trainers.inpainting.flops import drawing_flops, training_flops
from trainers.inpainting.inpainter import load_inpainter
from trainers.inpainting.training import train_inpainter
from trainers.pasting.lesions import read_counts, read_lesions


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    return make_brains(tmp_path_factory.mktemp("brains"))


@pytest.fixture(scope="module")
def whole(brains: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(brains, tmp_path_factory.mktemp("whole") / "inpainter")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / WEIGHTS_FILE, weights_only=True)


def assert_alike(one: Path, other: Path) -> None:
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name
    assert losses(one) == losses(other)
    pictures = [(folder / "figures" / "samples.png").read_bytes() for folder in (one, other)]
    assert pictures[0] == pictures[1], "snapshots are kept, too"


def test_a_killed_run_ends_bit_for_bit_as_a_whole_one(brains: SliceSet, whole: Path, tmp_path: Path) -> None:
    for kill_after in (2, 1):
        with pytest.raises(KilledError):
            trained(brains, tmp_path / "part", Interruptible(tmp_path / "kept", kill_after))
    last = Interruptible(tmp_path / "kept")
    trained(brains, tmp_path / "part", last)
    assert last.reports[0][0] > 36
    assert_alike(tmp_path / "part", whole)


def test_a_run_that_is_asked_to_stop_continues_from_that_step(brains: SliceSet, whole: Path, tmp_path: Path) -> None:
    asked = iter([False, True])
    with pytest.raises(StopRequestedError):
        trained(brains, tmp_path / "part", Interruptible(tmp_path / "kept", None, lambda: next(asked)))
    rest = Interruptible(tmp_path / "kept")
    trained(brains, tmp_path / "part", rest)
    assert [report[:2] for report in rest.reports] == [(windows, 40) for windows in range(12, 44, 4)]
    assert_alike(tmp_path / "part", whole)


def test_the_folder_holds_network_lesions_history_and_pictures(whole: Path) -> None:
    inpainter = load_inpainter(whole, torch.device("cpu"))
    assert inpainter.config == tiny()
    assert len(read_lesions(whole)) == read_counts(whole).cut == 10
    assert [images for images, _ in losses(whole)] == list(range(4, 44, 4))
    for name in ("samples", "loss", "lesions"):
        assert (whole / "figures" / f"{name}.png").stat().st_size > 2000
    assert load_inpainter(whole, torch.device("cpu")).fingerprint == inpainter.fingerprint


def test_only_the_training_split_is_read(brains: SliceSet, whole: Path, tmp_path: Path) -> None:
    held_out = (brains.slices["split"] != "train").to_numpy()
    images = np.array(brains.images)
    images[held_out] = np.random.default_rng(0).integers(0, 256, images[held_out].shape)
    boxes = brains.boxes.copy()
    boxes.loc[~boxes["slice_id"].str.startswith("train"), ["x0", "y0", "x1", "y1"]] = [2, 2, 40, 40]
    assert_alike(trained(SliceSet(brains.path, images, brains.slices, boxes, {}), tmp_path / "changed"), whole)


def test_what_does_not_fit_is_refused(brains: SliceSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"48 pixels wide, but inpaint\.window is 64"):
        trained(brains, tmp_path / "out", window=64)
    with pytest.raises(TrainingError, match="of 10 training lesions 0 fit into windows of 16 pixels with a rim of 6"):
        trained(brains, tmp_path / "out", window=16, rim=6)
    with pytest.raises(KilledError):
        trained(brains, tmp_path / "out", Interruptible(tmp_path / "kept", 1))
    with pytest.raises(TrainingError, match="a checkpoint of another run"):
        trained(brains, tmp_path / "out", Interruptible(tmp_path / "kept"), seed=1)
    with pytest.raises(TrainingError, match="loss is nan"):
        trained(brains, tmp_path / "out", learning_rate=1e30, total_kimg=1)
    with pytest.raises(TrainingError, match="is not a trained inpainter: it lacks"):
        load_inpainter(tmp_path / "out", torch.device("cpu"))


def test_lesions_larger_than_a_window_are_left_out(brains: SliceSet, tmp_path: Path) -> None:
    large = pd.Series([2.0, 2.0, 46.0, 46.0], index=["x0", "y0", "x1", "y1"])
    boxes = brains.boxes.copy()
    boxes.loc[boxes["slice_id"] == "train-0", large.index] = large.to_numpy()
    folder = trained(SliceSet(brains.path, brains.images, brains.slices, boxes, {}), tmp_path / "out")
    counts = read_counts(folder)
    assert (counts.cut, counts.left_out) == (9, 1)


def test_operations_are_counted() -> None:
    config = tiny()
    assert training_flops(config) > 2 * config.total_images * drawing_flops(config) / (2 * config.sampling_steps)
    assert training_flops(tiny(total_kimg=0.08)) == 2 * training_flops(config)
    assert drawing_flops(tiny(sampling_steps=4, most_lesions=1)) == drawing_flops(config)
    assert drawing_flops(tiny(widths=(32, 32))) > 3 * drawing_flops(config)


def work(rank: int, folder: Path, slices: Path) -> None:
    join_group(rank, folder / "group")
    out = folder / str(rank)
    out.mkdir()
    context = Context(Placement(rank, 2, torch.device("cpu")), FolderCheckpoints(folder / "kept"), lambda *_: None)
    train_inpainter(tiny(batch_size=5), open_slice_set(slices), out, context)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_learn_what_one_learns(brains: SliceSet, tmp_path: Path) -> None:
    alone = trained(brains, tmp_path / "alone", batch_size=5)
    run_ranks(work, tmp_path, brains.path)
    for name, value in weights(tmp_path / "0").items():
        torch.testing.assert_close(value, weights(alone)[name], rtol=0, atol=1e-3)
    assert [loss for _, loss in losses(tmp_path / "0")] == pytest.approx([loss for _, loss in losses(alone)], rel=1e-3)
    assert not list((tmp_path / "1").iterdir())
