from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.devices import DEVICES, GPU
from tests.trainers.gan.compared_runs import differences, weights
from tests.trainers.gan.tiny_runs import SIZE, Interruptible, KilledError, make_slices, tiny
from tests.trainers.ranks import join_group, run_ranks
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.distributed import Context, Placement
from trainers.exceptions import StopRequestedError, TrainingError
from trainers.gan.batches import TrainingSlices
from trainers.gan.checkpoint import FILE, TrainingState
from trainers.gan.config import GANConfig
from trainers.gan.schedule import phase_at
from trainers.gan.step import update
from trainers.gan.training import train_gan
from trainers.gan.workers import check_equal


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True)])
def test_a_gpu_rounds_to_tf32_only_where_that_is_asked_for(
    precision: str, allowed: bool, slices: SliceSet, tmp_path: Path
) -> None:
    found = []

    def look(*_: object) -> None:
        found.append(torch.backends.cudnn.allow_tf32)
        raise KilledError

    context = Context(Placement.alone(), FolderCheckpoints(tmp_path / "checkpoints"), look)
    with pytest.raises(KilledError):
        train_gan(tiny(precision=precision), slices, tmp_path, context)
    assert found == [allowed]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"variant": "cpggan+normal", "loss": "r1", "penalty_interval": 3},
        {"variant": "image2image", "precision": "bf16", "augment": "diffaugment"},
        {"augment": "adaptive", "augment_kimg": 0.05, "loss": "relativistic"},
    ],
    ids=str,
)
def test_equal_runs_end_bit_for_bit_alike_interrupted_or_not(
    changes: dict[str, object], device: str, slices: SliceSet, tmp_path: Path
) -> None:
    config = tiny(**changes)
    for name in ("whole", "again", "parts"):
        (tmp_path / name).mkdir()
    # On a GPU this tells what does not repeat itself from what is not kept; on a CPU everything repeats itself.
    for name in ("whole", "again") if device == GPU else ("whole",):
        train_gan(config, slices, tmp_path / name, Interruptible(tmp_path / f"checkpoints-{name}", device=device))
        assert not (unlike := differences(tmp_path / "whole", tmp_path / name)), f"two whole runs:\n{unlike}"
    for kill_after in (2, 1, None):
        context = Interruptible(tmp_path / "checkpoints-parts", kill_after, device=device)
        if kill_after is None:
            train_gan(config, slices, tmp_path / "parts", context)
        else:
            with pytest.raises(KilledError):
                train_gan(config, slices, tmp_path / "parts", context)
    assert context.reports[0][0] > 150
    assert not (unlike := differences(tmp_path / "whole", tmp_path / "parts")), f"whole and resumed:\n{unlike}"


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_that_is_asked_to_stop_continues_bit_for_bit_from_that_very_step(
    device: str, slices: SliceSet, tmp_path: Path
) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    train_gan(tiny(), slices, tmp_path / "whole", Interruptible(tmp_path / "checkpoints-whole", device=device))
    asked = iter([False, False, True])
    stopped = Interruptible(tmp_path / "checkpoints-parts", None, lambda: next(asked), device)
    with pytest.raises(StopRequestedError):
        train_gan(tiny(), slices, tmp_path / "parts", stopped)
    rest = Interruptible(tmp_path / "checkpoints-parts", device=device)
    train_gan(tiny(), slices, tmp_path / "parts", rest)
    assert rest.reports[0][0] == stopped.reports[-1][0] + tiny().batch_size
    for name, expected in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "parts")[name], expected), name


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
        (
            {"batch_size": 8},
            3,
            "gan.batch_size is 8 in groups of 4 .* there are 3 workers; allowed: at least one group",
        ),
    ],
)
def test_misfits_are_refused(slices: SliceSet, changes: dict[str, object], workers: int, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        TrainingSlices(tiny(**changes), slices, 0, workers)


def test_normal_variant_needs_normal_slices(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="got 0 slices of normal subjects"):
        TrainingSlices(tiny(variant="cpggan+normal"), make_slices(tmp_path, normal=0), 0, 1)


def test_updates_that_are_not_finite_change_nothing_and_end_the_run_past_a_limit(
    slices: SliceSet, tmp_path: Path
) -> None:
    context = Interruptible(tmp_path)
    config = tiny(augment="adaptive")
    data = TrainingSlices(config, slices, 0, 1)
    state = TrainingState.initial(config, context.device)
    update(state, data.batch(0), data.share, None, context)
    before = {name: value.clone() for name, value in state.generator.state_dict().items()}
    averaged = {name: value.clone() for name, value in state.average.state_dict().items()}
    probability, signal = state.augment_probability.clone(), state.overfitting.clone()
    bias = dict(state.discriminator.named_parameters())["score.bias"].data
    bias.fill_(torch.nan)
    statistics = update(state, data.batch(8), data.share, None, context)
    assert int(state.skipped) == 2
    assert statistics.isnan().any()
    assert all(torch.equal(value, before[name]) for name, value in state.generator.state_dict().items())
    assert all(torch.equal(value, averaged[name]) for name, value in state.average.state_dict().items())
    assert (state.augment_probability, state.overfitting) == (probability, signal)
    bias.fill_(0.0)
    update(state, data.batch(16), data.share, None, context)
    assert int(state.skipped) == 2
    assert not torch.equal(state.generator.state_dict()["dense.weight"], before["dense.weight"])

    with pytest.raises(
        TrainingError, match=r"After \d+ images \d+ updates were skipped.* gan\.nonfinite_limit allows 3"
    ):
        train_gan(tiny(learning_rate=1e30, nonfinite_limit=3), slices, tmp_path, Interruptible(tmp_path))


def test_at_a_new_resolution_adam_keeps_the_old_layers_state_and_starts_the_new_ones(slices: SliceSet) -> None:
    config = tiny()
    data = TrainingSlices(config, slices, 0, 1)
    state = TrainingState.initial(config, torch.device("cpu"))
    context = Context(Placement(0, 1, torch.device("cpu")), FolderCheckpoints(Path()), lambda *_: None)

    def steps_of(layer: str) -> set[float]:
        known = state.discriminator_optimiser.state
        parameters = dict(state.discriminator.named_parameters()).items()
        return {float(known[p]["step"]) for name, p in parameters if name.startswith(layer) and p in known}

    for step in range(5):
        state.images = 8 * step
        update(state, data.batch(state.images), data.share, None, context)
        if step == 3:
            assert (steps_of("convolution"), steps_of("refine.0")) == ({4.0}, set())
    assert phase_at(config, state.images).resolution == 8
    assert (steps_of("convolution"), steps_of("refine.0"), steps_of("refine.1")) == ({5.0}, {1.0}, set())


def test_a_foreign_checkpoint_is_refused(slices: SliceSet, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train_gan(tiny(), slices, tmp_path, Interruptible(tmp_path / "checkpoints", 1))
    with pytest.raises(TrainingError, match=r"another run, in which gan\.seed was 0 \(now 1\)"):
        train_gan(tiny(seed=1), slices, tmp_path, Interruptible(tmp_path / "checkpoints"))


def test_a_checkpoint_does_not_bring_along_how_another_device_runs_adam(tmp_path: Path) -> None:
    state = TrainingState.initial(tiny(cuda_graph=True), torch.device("cpu"))
    state.discriminator_optimiser.param_groups[0]["capturable"] = True  # as on a GPU
    state.save(tmp_path)
    resumed = TrainingState.initial(state.config, torch.device("cpu"))
    resumed.restore((tmp_path / FILE).read_bytes(), tmp_path)
    assert [group["capturable"] for group in resumed.discriminator_optimiser.param_groups] == [False]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_run_asks_nothing_of_a_gpu_before_its_networks_are_there(slices: SliceSet, tmp_path: Path) -> None:
    """Without a GPU torch's own message says so; a question to CUDA before it is initialised fails even with one."""
    with pytest.raises((AssertionError, RuntimeError), match=r"NVIDIA|not compiled with CUDA"):
        train_gan(tiny(), slices, tmp_path, Interruptible(tmp_path / "checkpoints", device=GPU))


def test_workers_need_a_process_group(slices: SliceSet, tmp_path: Path) -> None:
    context = Context(Placement(0, 2, torch.device("cpu")), FolderCheckpoints(tmp_path), lambda *_: None)
    with pytest.raises(TrainingError, match=r"2 workers needs a torch\.distributed process group"):
        train_gan(tiny(), slices, tmp_path, context)


ROUNDING = 1e-4
"""Weights of two workers against one with all images, after 25 steps: gradients are summed in another order."""


def work(rank: int, folder: Path, slices: Path, config: GANConfig) -> None:
    join_group(rank, folder / "group")
    out = folder / str(rank)
    out.mkdir()
    reported: list[int] = []
    # Rank 1's disk has no checkpoint of rank 0's.
    checkpoints = FolderCheckpoints(folder / f"checkpoints-{rank}")
    context = Context(Placement(rank, 2, torch.device("cpu")), checkpoints, lambda done, *_: reported.append(done))
    train_gan(config, open_slice_set(slices), out, context)
    (folder / f"{rank}.json").write_text(json.dumps(reported))
    check_that_drift_is_found(rank)
    torch.distributed.destroy_process_group()


def check_that_drift_is_found(rank: int) -> None:
    network = torch.nn.Linear(3, 2)
    for parameter in network.parameters():
        torch.nn.init.ones_(parameter)
    check_equal([network], 2)
    network.weight.data[0, 0] += rank * 1e-7
    with pytest.raises(TrainingError, match="no longer equal"):
        check_equal([network], 2)


@pytest.mark.parametrize(
    ("changes", "kept"),
    # Adaptive augmentation counts signs: rounding, which differs between processors, may turn one.
    [({"augment": "diffaugment"}, None), ({"variant": "image2image"}, 1)],
    ids=["from the start", "from a checkpoint of one worker"],
)
def test_two_workers_equal_one_that_shows_all_images(
    changes: dict[str, object], kept: int | None, slices: SliceSet, tmp_path: Path
) -> None:
    config = tiny(**changes)
    for name in ("alone", "part"):
        (tmp_path / name).mkdir()
    train_gan(config, slices, tmp_path / "alone", Interruptible(tmp_path / "checkpoints"))
    if kept:
        with pytest.raises(KilledError):
            train_gan(config, slices, tmp_path / "part", Interruptible(tmp_path / "checkpoints-0", kept))
    run_ranks(work, tmp_path, slices.path, config)
    expected = weights(tmp_path / "alone")
    for name, value in weights(tmp_path / "0").items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=ROUNDING)
    assert json.loads((tmp_path / "0.json").read_text()) == list(range(64 if kept else 8, 208, 8))
    assert json.loads((tmp_path / "1.json").read_text()) == []
    assert not list((tmp_path / "1").iterdir())
    one, two = (
        [json.loads(line)["gan/d_loss"] for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        for name in ("alone", "0")
    )
    assert two == pytest.approx(one, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(("batch", "group", "workers", "sizes"), [(12, 4, 2, [4, 8]), (8, 2, 3, [2, 2, 4])])
def test_shares_may_be_uneven_but_keep_groups_whole(
    batch: int, group: int, workers: int, sizes: list[int], slices: SliceSet
) -> None:
    config = tiny(batch_size=batch, stddev_group=group)
    shares = [TrainingSlices(config, slices, rank, workers).share for rank in range(workers)]
    assert [len(share) for share in shares] == sizes
    assert [place for share in shares for place in share] == list(range(batch))
