"""Updates that are recorded and replayed: what a CPU can show of them; `make test-gpu` has the graph itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainers.gan.tiny_runs import Interruptible, tiny
from tests.trainers.gan.waiting import NoWaiting
from trainers.data.slice_set import SliceSet
from trainers.gan.batches import TrainingSlices
from trainers.gan.checkpoint import TrainingState
from trainers.gan.config import GANConfig
from trainers.gan.recording import UNRECORDED, RecordedUpdate, Replay
from trainers.gan.schedule import phase_at
from trainers.gan.step import course_at, inputs_of, run_update, update

Step = Callable[..., Tensor]


def trained(
    config: GANConfig, slices: SliceSet, step_of: Callable[[TrainingState], Step]
) -> tuple[TrainingState, list]:
    state = TrainingState.initial(config, torch.device("cpu"))
    data, step, statistics = TrainingSlices(config, slices, 0, 1), step_of(state), []
    while state.images < config.total_images:
        statistics.append(step(data.batch(state.images), data.share).clone())
        state.images += config.batch_size
    return state, statistics


def test_replayed_updates_read_what_changes_between_steps_from_the_device(slices: SliceSet, tmp_path: Path) -> None:
    """A stand-in for the graph runs the update again as it was recorded, and without the count of images."""
    # Shares faded in are multiples of 1/8: exact in bf16, too.
    growth = {"initial_resolution": 8, "stable_kimg": 0.064, "fade_kimg": 0.064, "total_kimg": 0.2}
    augment = {"augment": "adaptive", "augment_kimg": 0.05, "augment_target": 0.1}
    config = tiny(precision="bf16", loss="r1", penalty_interval=2, **growth, **augment)
    context = Interruptible(tmp_path)
    recorded: list[tuple[int, bool]] = []
    replays = 0

    def recording(state: TrainingState) -> Step:
        def record(run: Replay) -> Replay:
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

        return RecordedUpdate(state, None, context, record)

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
    assert replays == sum(count - UNRECORDED for count in runs.values() if count > UNRECORDED) > 5


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
