from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from tests.trainers.gan.tiny_runs import SIZE, Interruptible, KilledError, make_slices, tiny
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.distributed import Context, Placement
from trainers.exceptions import TrainingError
from trainers.gan.batches import TrainingSlices
from trainers.gan.training import train_gan


def weights(out: Path) -> dict[str, Tensor]:
    return torch.load(out / "generator.pt", weights_only=True)


@pytest.mark.parametrize("variant", ["cpggan", "cpggan+normal", "image2image"])
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(
    variant: str, slices: SliceSet, tmp_path: Path
) -> None:
    config = tiny(variant=variant)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = Interruptible(tmp_path / "checkpoints-whole")
    train_gan(config, slices, tmp_path / "whole", whole)
    for kill_after in (2, 1, None):
        context = Interruptible(tmp_path / "checkpoints-parts", kill_after)
        if kill_after is None:
            train_gan(config, slices, tmp_path / "parts", context)
        else:
            with pytest.raises(KilledError):
                train_gan(config, slices, tmp_path / "parts", context)
    assert context.reports[0][0] > 150
    for name, expected in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "parts")[name], expected), name
    lines = {
        name: [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    }
    assert [line | {"time": 0} for line in lines["parts"]] == [line | {"time": 0} for line in lines["whole"]]


def test_results_and_reports(slices: SliceSet, tmp_path: Path) -> None:
    context = Interruptible(tmp_path / "checkpoints")
    config = tiny()
    train_gan(config, slices, tmp_path, context)
    for name in ("samples", "progress", "losses"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000
    assert [report[:2] for report in context.reports] == [(images, 200) for images in range(8, 201, 8)]
    assert {"gan/d_loss", "gan/g_loss", "gan/gradient_penalty"} <= set(context.reports[-1][2])
    assert context.reports[0][2]["gan/resolution"] == 4
    assert context.reports[-1][2]["gan/resolution"] == SIZE


def test_every_slice_is_shown_once_an_epoch_by_all_workers_together(slices: SliceSet) -> None:
    config = tiny(horizontal_flip=False, variant="cpggan+normal")
    workers = [TrainingSlices(config, slices, rank, 2) for rank in (0, 1)]
    shown = np.concatenate([worker.batch(step).images for step in range(0, 32, 8) for worker in workers])
    assert len(shown) == len(slices.images)
    assert sorted(image.tobytes() for image in shown) == sorted(image.tobytes() for image in slices.images)


def test_batches_depend_on_the_images_shown_alone(slices: SliceSet) -> None:
    straight, jumped = (TrainingSlices(tiny(), slices, 0, 1) for _ in range(2))
    for step in range(0, 80, 8):
        batch = straight.batch(step)
    np.testing.assert_array_equal(jumped.batch(72).images, batch.images)
    assert (jumped.batch(0).images != batch.images).any()


def test_slices_and_conditions_are_mirrored_together(slices: SliceSet) -> None:
    batch = TrainingSlices(tiny(batch_size=24), slices, 0, 1).batch(0)
    originals = {image.tobytes() for image in slices.images}
    mirrored = [image.tobytes() not in originals for image in batch.images]
    assert 4 < sum(mirrored) < 20
    np.testing.assert_array_equal(batch.images == 230, batch.conditions == 255)


@pytest.mark.parametrize(("share", "tumour"), [(None, 24 / 32), (0.5, 0.5), (0.8, 0.2)])
def test_share_of_normal_slices(slices: SliceSet, share: float | None, tumour: float) -> None:
    data = TrainingSlices(tiny(variant="cpggan+normal", normal_share=share), slices, 0, 1)
    shown = np.concatenate([data.batch(step).conditions for step in range(0, 1920, 8)])
    assert (shown.max(axis=(1, 2)) == 255).mean() == pytest.approx(tumour, abs=0.01)


def test_lesion_free_slices_of_tumour_patients_are_not_normal(slices: SliceSet) -> None:
    kinds = ["normal" if row >= 28 else "tumour" for row in range(32)]
    told = SliceSet(slices.path, slices.images, slices.slices.assign(subject_kind=kinds), slices.boxes, {})
    data = TrainingSlices(tiny(variant="cpggan+normal"), told, 0, 1)
    shown = {image.tobytes() for step in range(0, 56, 8) for image in data.batch(step).images}
    flipped = {image[:, ::-1].tobytes() for image in slices.images[24:28]}
    assert not shown & ({image.tobytes() for image in slices.images[24:28]} | flipped)


def test_only_the_training_split_is_read(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="got 0 tumour slices in the training split"):
        TrainingSlices(tiny(), make_slices(tmp_path, split="test"), 0, 1)


@pytest.mark.parametrize(
    ("changes", "workers", "message"),
    [
        ({"resolution": 32, "widths": (8, 8, 8, 8), "total_kimg": 1.0}, 1, "16 pixels wide, but gan.resolution is 32"),
        ({"batch_size": 25}, 1, "gan.batch_size is 25, but the training split has 24 slices; allowed: 1 to 24"),
        ({"batch_size": 9}, 2, "gan.batch_size is 9, but there are 2 workers"),
    ],
)
def test_misfits_are_refused(slices: SliceSet, changes: dict[str, object], workers: int, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        TrainingSlices(tiny(**changes), slices, 0, workers)


def test_normal_variant_needs_normal_slices(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="got 0 slices of normal subjects"):
        TrainingSlices(tiny(variant="cpggan+normal"), make_slices(tmp_path, normal=0), 0, 1)


def test_diverging_losses_stop_the_run(slices: SliceSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not finite after .* images"):
        train_gan(tiny(learning_rate=1e30), slices, tmp_path, Interruptible(tmp_path))


def test_a_foreign_checkpoint_is_refused(slices: SliceSet, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train_gan(tiny(), slices, tmp_path, Interruptible(tmp_path / "checkpoints", 1))
    with pytest.raises(TrainingError, match="checkpoint of another run"):
        train_gan(tiny(seed=1), slices, tmp_path, Interruptible(tmp_path / "checkpoints"))


def test_workers_need_a_process_group(slices: SliceSet, tmp_path: Path) -> None:
    context = Context(Placement(0, 2, torch.device("cpu")), tmp_path, lambda *_: None)
    with pytest.raises(TrainingError, match=r"2 workers needs a torch\.distributed process group"):
        train_gan(tiny(), slices, tmp_path, context)


def work(rank: int, folder: Path, slices: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    out = folder / str(rank)
    out.mkdir()
    reported: list[int] = []
    context = Context(
        Placement(rank, 2, torch.device("cpu")), folder / "checkpoints", lambda done, *_: reported.append(done)
    )
    saved: list[Tensor] = []
    original = context.save_checkpoint

    def keep(write) -> None:
        state = write.__self__
        saved.append(torch.cat([p.detach().flatten().clone() for p in state.generator.parameters()]))
        original(write)

    context.save_checkpoint = keep
    train_gan(tiny(), open_slice_set(slices), out, context)
    torch.save({"weights": saved, "reported": reported}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_workers_stay_equal(slices: SliceSet, tmp_path: Path) -> None:
    spawn(work, (tmp_path, slices.path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(first["weights"]) >= 3
    for a, b in zip(first["weights"], second["weights"], strict=True):
        assert torch.equal(a, b)
    assert first["reported"][-1] == 200
    assert second["reported"] == []
    assert (tmp_path / "0" / "generator.pt").is_file()
    assert not list((tmp_path / "1").iterdir())
