from __future__ import annotations

import dataclasses
import json
import math
import resource
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from tests.devices import DEVICES, GPU
from tests.trainers.disc_slices import FolderContext, make_slice_set, tiny_config
from trainers.data.slice_set import SliceSet
from trainers.detector.checkpoint import RunState, Selection
from trainers.detector.config import DetectorConfig
from trainers.detector.dataset import open_slices
from trainers.detector.figures import loss_curves
from trainers.detector.prediction import load_detector, predict
from trainers.detector.training import train_detector
from trainers.exceptions import StopRequestedError, TrainingError

RESUME_TOLERANCE = 1e-6


def train(config: DetectorConfig, slices: SliceSet, folder: Path, context: FolderContext | None = None) -> Path:
    train_detector(config, slices, [], 0, folder / "out", context or FolderContext(folder / "checkpoint"))
    return folder / "out"


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "model.pt", weights_only=True)


@pytest.fixture(scope="module")
def straight(discs: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a run that nothing disturbed; its checkpoint lies beside it."""
    return train(tiny_config(), discs, tmp_path_factory.mktemp("straight"))


def test_it_learns_to_find_discs(discs: SliceSet, tmp_path: Path) -> None:
    config = tiny_config(batch=8, steps=150, evaluate_every=75, learning_rate=3e-3, warmup_steps=10, scale=0.2,
                         select_from=1.0, selection_confidence=0.05)  # fmt: skip
    context = FolderContext(tmp_path / "checkpoint")
    out = train(config, discs, tmp_path, context)

    selection = json.loads((out / "selection.json").read_text())
    assert selection["step"] == 150
    assert selection["sensitivity"] >= 0.6
    assert selection["fps_per_slice"] <= 5
    assert selection["slice_size"] == discs.size
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    losses = [line["detector/loss"] for line in history if "detector/loss" in line]
    assert losses[-1] < 0.7 * max(losses)
    assert [line["step"] for line in history if "validation/sensitivity" in line] == [75, 150]
    assert {(done, total) for done, total, _ in context.reports} >= {(1, 150), (75, 150), (150, 150)}
    assert (out / "figures" / "loss_curves.png").stat().st_size > 1000
    told = {done: metrics for done, _, metrics in context.reports}
    assert "kept_validation/sensitivity" not in told[75], "nothing is kept before `select_from`"
    assert told[150]["kept_validation/sensitivity"] == selection["sensitivity"]

    found = predict(load_detector(out), discs.images[discs.indices("test")], 0.05)
    assert len(found)
    assert found[["x0", "y0", "x1", "y1"]].to_numpy().min() >= 0
    assert found[["x0", "y0", "x1", "y1"]].to_numpy().max() <= discs.size


def test_the_test_split_and_chance_have_no_say(tmp_path: Path, discs: SliceSet, straight: Path) -> None:
    other = make_slice_set(tmp_path / "other", {"train": 24, "validation": 8, "test": 3})
    test = other.indices("test")
    assert not np.array_equal(other.images[test], discs.images[discs.indices("test")[: len(test)]])
    first, second = straight, train(tiny_config(), other, tmp_path / "b")
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())
    third = train(tiny_config(seed=1, steps=2), discs, tmp_path / "c")
    assert not all(torch.equal(value, weights(third)[name]) for name, value in weights(first).items())


class Refusing:
    """Images that can only be read row by row, and not everywhere; writes down which rows were read."""

    def __init__(self, images: np.ndarray, forbidden: np.ndarray) -> None:
        self.shape, self.dtype = images.shape, images.dtype
        self.read: set[int] = set()
        self._images, self._forbidden = images, set(forbidden.tolist())

    def __getitem__(self, rows: int | np.ndarray) -> np.ndarray:
        wanted = set(np.atleast_1d(rows).tolist())
        assert not wanted & self._forbidden, "a test slice was read"
        self.read |= wanted
        return self._images[rows]


def test_training_and_selection_read_every_training_and_validation_slice_and_no_test_slice(
    tmp_path: Path, discs: SliceSet
) -> None:
    images = Refusing(discs.images, discs.indices("test"))
    watched = dataclasses.replace(discs, images=cast("np.ndarray", images))
    train(tiny_config(batch=8, steps=4, evaluate_every=4), watched, tmp_path)
    assert images.read == set(np.concatenate([discs.indices("train"), discs.indices("validation")]).tolist())


def test_what_was_shown_is_told(tmp_path: Path, discs: SliceSet, synthetic_discs: SliceSet) -> None:
    config = tiny_config(batch=7, epochs=0.8, synthetic_share=0.25)
    train_detector(config, discs, [synthetic_discs], 10, tmp_path / "out", FolderContext(tmp_path / "checkpoint"))
    selection = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert selection["steps"] == 4, "0.8 passes over 35 slices, 7 a step"
    assert selection["step"] in (2, 4)
    assert (selection["real_slices"], selection["synthetic_slices"]) == (25, 10)
    assert (selection["real_slices_seen"], selection["synthetic_slices_seen"]) == (21, 7)
    assert (selection["real_passes"], selection["synthetic_passes"]) == (21 / 25, 7 / 10)
    assert load_detector(tmp_path / "out").config == config


@pytest.mark.parametrize("device", DEVICES)
def test_a_killed_run_continues_as_if_nothing_had_happened(
    device: str, tmp_path: Path, discs: SliceSet, straight: Path
) -> None:
    if device == GPU:
        whole, again = (
            train(tiny_config(), discs, tmp_path / name, FolderContext(tmp_path / name / "checkpoint", device=device))
            for name in ("whole", "again")
        )
        for name, value in weights(whole).items():
            torch.testing.assert_close(weights(again)[name], value, rtol=0, atol=0, msg=f"two whole runs: {name}")
        straight = whole
    checkpoint = tmp_path / "killed" / "checkpoint"
    with pytest.raises(InterruptedError):
        train(tiny_config(), discs, tmp_path / "killed", FolderContext(checkpoint, dies_at=5, device=device))
    second = FolderContext(checkpoint, device=device)
    resumed = train(tiny_config(), discs, tmp_path / "killed", second)

    assert second.reports[0][0] == 5, "continues after the checkpoint of step 4"
    for name, value in weights(straight).items():
        torch.testing.assert_close(weights(resumed)[name], value, rtol=0, atol=RESUME_TOLERANCE)
    steps = [json.loads(line)["step"] for line in (resumed / "history.jsonl").read_text().splitlines()]
    assert steps == [json.loads(line)["step"] for line in (straight / "history.jsonl").read_text().splitlines()]


def test_a_run_that_is_asked_to_stop_continues_in_the_middle_of_a_pseudo_epoch(
    tmp_path: Path, discs: SliceSet, straight: Path
) -> None:
    asked = iter([False, True])
    first = FolderContext(tmp_path / "checkpoint", asked_to_stop=lambda: next(asked))
    with pytest.raises(StopRequestedError):
        train(tiny_config(), discs, tmp_path, first)
    assert first.reports[-1][0] == 3, "two stop points: after steps 1 and 3, none where the library evaluates"
    second = FolderContext(tmp_path / "checkpoint")
    resumed = train(tiny_config(), discs, tmp_path, second)
    assert [done for done, _, _ in second.reports] == [4, 4, 5, 6, 6]
    for name, value in weights(straight).items():
        torch.testing.assert_close(weights(resumed)[name], value, rtol=0, atol=RESUME_TOLERANCE)


def test_a_finished_run_only_writes_its_result_again(tmp_path: Path, discs: SliceSet, straight: Path) -> None:
    context = FolderContext(straight.parent / "checkpoint")
    again = train(tiny_config(), discs, tmp_path, context)
    assert (again / "selection.json").read_text() == (straight / "selection.json").read_text()
    assert not context.reports


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, discs: SliceSet, straight: Path) -> None:
    with pytest.raises(TrainingError, match="belongs to another run"):
        train(tiny_config(seed=2), discs, tmp_path, FolderContext(straight.parent / "checkpoint"))


def test_selection_prefers_sensitivity_then_fewer_false_positives_then_the_later_step() -> None:
    best = Selection(step=4, sensitivity=0.5, fps_per_slice=2.0, weights={})
    assert best.beaten_by(0.6, 9.0)
    assert best.beaten_by(0.5, 1.0)
    assert best.beaten_by(0.5, 2.0)
    assert not best.beaten_by(0.5, 3.0)
    assert not best.beaten_by(0.4, 0.0)


def test_the_curves_tell_the_iou_of_the_selection() -> None:
    history = [{"step": 1, "detector/loss": 2.0}, {"step": 2, "validation/sensitivity": 0.5}]
    _, right = loss_curves(history, 2, 0.25).axes
    assert right.get_ylabel() == "validation sensitivity (IoU 0.25)"
    assert [np.asarray(line.get_ydata()).tolist() for line in right.get_lines()] == [[0.5]]


def test_a_batch_that_the_workers_cannot_share_is_refused(tmp_path: Path, discs: SliceSet) -> None:
    with pytest.raises(TrainingError, match="batch is 4 for 3 workers"):
        train(tiny_config(), discs, tmp_path, FolderContext(tmp_path / "checkpoint", world_size=3))


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(tmp_path: Path, discs: SliceSet) -> None:
    config = tiny_config(class_gain=1e38)
    with pytest.raises(TrainingError, match=r"not finite.*Lower learning_rate"):
        train(config, discs, tmp_path)
    assert not (tmp_path / "out").exists()


def test_too_little_memory_ends_the_run_with_advice(tmp_path: Path, discs: SliceSet) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    config = tiny_config(train_size=4096, batch=32)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, limits[1]))
        with pytest.raises(TrainingError, match="does not fit into memory with batch=32"):
            train(config, discs, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_the_library_may_not_halve_the_batch(tmp_path: Path, discs: SliceSet) -> None:
    from trainers.detector.run import YoloRun

    class Starved(YoloRun):
        def preprocess_batch(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            raise torch.OutOfMemoryError(f"CUDA out of memory for {batch.keys()}")

    state = RunState("starved")
    run = Starved(tiny_config(), open_slices(discs, "train"), lambda _: {}, state, FolderContext(tmp_path), tmp_path)
    with pytest.raises(TrainingError, match="does not fit into memory with batch=4"):
        run.train()
    assert state.step == 0


def test_the_learning_rate_rises_then_falls_along_a_cosine() -> None:
    from trainers.detector.run import learning_rate

    config = tiny_config(steps=102, warmup_steps=2, learning_rate=1e-3, final_learning_rate=1e-4)
    assert learning_rate(config, 0) == pytest.approx(5e-4)
    assert learning_rate(config, 2) == pytest.approx(1e-3)
    assert learning_rate(config, 101) == pytest.approx(1e-4)
    constant = DetectorConfig()
    assert math.isclose(learning_rate(constant, 100_000), 1e-3)
