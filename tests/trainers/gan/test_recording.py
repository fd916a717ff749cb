"""Updates that are recorded and replayed: what a CPU can show of them; `make test-gpu` has the graph itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainers.gan.tiny_runs import Interruptible, tiny
from tests.trainers.gan.waiting import NoWaiting
from trainers.data.slice_set import SliceSet
from trainers.gan.batches import TrainingSlices
from trainers.gan.checkpoint import TrainingState
from trainers.gan.config import GANConfig
from trainers.gan.recording import UNRECORDED, Record, RecordedUpdate, Replay
from trainers.gan.schedule import Phase, phase_at
from trainers.gan.step import course_at, inputs_of, run_update, update

Step = Callable[..., Tensor]
CPU = torch.device("cpu")


def trained(
    config: GANConfig, slices: SliceSet, step_of: Callable[[TrainingState], Step]
) -> tuple[TrainingState, list]:
    state = TrainingState.initial(config, CPU)
    data, step, statistics = TrainingSlices(config, slices, 0, 1), step_of(state), []
    while state.images < config.total_images:
        statistics.append(step(data.batch(state.images), data.share).clone())
        state.images += config.batch_size
    return state, statistics


def test_replayed_updates_read_what_changes_between_steps_from_the_device(slices: SliceSet, tmp_path: Path) -> None:
    """A stand-in for the graph runs the update again as it was recorded, and without the count of images."""
    # Shares faded in are multiples of 1/8, for which 1 - alpha is exact.
    growth = {"initial_resolution": 8, "stable_kimg": 0.064, "fade_kimg": 0.064, "total_kimg": 0.2}
    augment = {"augment": "adaptive", "augment_kimg": 0.05, "augment_target": 0.1}
    config = tiny(loss="r1", penalty_interval=2, **growth, **augment)
    context = Interruptible(tmp_path)
    recorded: list[tuple[int, bool]] = []
    recorders = replays = 0
    default = torch.cpu.current_stream()

    def recording(state: TrainingState) -> Step:
        def recorder() -> Record:
            nonlocal recorders
            recorders += 1
            return record

        def record(run: Replay) -> Replay:
            assert torch.cpu.current_stream() is not default
            phase = phase_at(config, state.images)
            recorded.append((phase.resolution, phase.fades))

            def replay() -> Tensor:
                nonlocal replays
                replays += 1
                images = state.images
                del state.images  # whoever reads it would have been recorded with it
                try:
                    return run()
                finally:
                    state.images = images

            return replay

        return RecordedUpdate(state, None, context, recorder)

    def plain(state: TrainingState) -> Step:
        return lambda batch, share: update(state, batch, share, None, context)

    one, expected = trained(config, slices, plain)
    other, statistics = trained(config, slices, recording)
    assert torch.equal(torch.stack(statistics), torch.stack(expected))
    for network, twin in zip(one.networks, other.networks, strict=True):
        for (name, value), weight in zip(network.named_parameters(), twin.parameters(), strict=True):
            assert torch.equal(weight, value), name
    assert 0 < other.augment_probability == one.augment_probability
    kinds = set()
    runs: dict[tuple[object, ...], int] = {}
    for images in range(0, config.total_images, config.batch_size):
        course = course_at(config, images)
        kind = (course.phase.resolution, course.phase.fades, course.penalised)
        runs[kind] = runs.get(kind, 0) + 1
        kinds |= {kind} if runs[kind] > UNRECORDED else set()
    assert len(recorded) == len(kinds)
    assert {kind[:2] for kind in kinds} == set(recorded)
    assert recorders == len(set(recorded)), "one pool of memory for a phase"
    assert torch.cpu.current_stream() is default
    assert replays == sum(count - UNRECORDED for count in runs.values() if count > UNRECORDED) > 5


@pytest.mark.parametrize("fades_in", [0.07, 1 / 3, 0.9])
def test_a_recorded_fade_is_not_rounded_to_the_format_of_the_features(fades_in: float) -> None:
    features = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    blends = []
    for on_device in (None, torch.tensor(fades_in)):
        coarse, fine = (each.clone().requires_grad_() for each in features)
        blended = Phase(8, fades_in, on_device).blend(coarse, fine)
        blended.backward(features[0])
        blends.append([blended, coarse.grad, fine.grad])
    assert all(torch.equal(launched, recorded) for launched, recorded in zip(*blends, strict=True))


def test_boxes_that_no_detector_reads_yet_need_no_recording_of_their_own(slices: SliceSet) -> None:
    config = tiny(variant="cpggan+detector", detector_start_kimg=0.1)
    state = TrainingState.initial(config, CPU)
    batch = TrainingSlices(config, slices, 0, 1).batch(0)
    crowded = replace(batch, boxes=[np.repeat(boxes, 3, axis=0) for boxes in batch.boxes])
    shapes = []
    for state.images in (0, 104):
        shapes.append({inputs_of(state, each, range(8), CPU).boxes.shape for each in (batch, crowded)})
    assert [len(each) for each in shapes] == [1, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "relativistic", "augment": "adaptive"},
        {"variant": "image2image", "augment": "diffaugment"},
        {"precision": "bf16", "initial_resolution": 8, "fade_kimg": 0.1},
    ],
    ids=str,
)
def test_nothing_in_an_update_waits_for_the_device(
    changes: dict[str, object], slices: SliceSet, tmp_path: Path
) -> None:
    config, context = tiny(**changes), Interruptible(tmp_path)
    state = TrainingState.initial(config, context.device)
    data = TrainingSlices(config, slices, 0, 1)
    for images in (0, 64):
        inputs = inputs_of(state, data.batch(images), data.share, context.device)
        course = course_at(config, images)
        run_update(state, inputs, course, None, context)
        with NoWaiting():
            run_update(state, inputs, course, None, context)
