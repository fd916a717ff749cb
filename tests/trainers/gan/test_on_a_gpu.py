"""An update can be recorded: on a GPU, which here computes nothing, it touches nothing that is elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainers.gan.fake_gpu import GPU, OffDeviceError, OnDeviceOnly, fake_gpu
from tests.trainers.gan.tiny_runs import SIZE, Interruptible, tiny
from trainers.gan.arithmetic import arithmetic
from trainers.gan.augmentation import OPERATIONS, PARAMETERS
from trainers.gan.checkpoint import TrainingState
from trainers.gan.config import GANConfig
from trainers.gan.step import Course, Inputs, course_at, run_update

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")


@pytest.fixture(autouse=True)
def fake() -> Iterator[None]:
    with fake_gpu():
        yield


def inputs_for(state: TrainingState) -> Inputs:
    count = state.config.batch_size
    pixels = torch.zeros(2, count, SIZE, SIZE, dtype=torch.uint8, device=GPU)
    latents = torch.zeros(2, count, *state.generator.latent_shape, device=GPU)
    uniform = torch.zeros(count, PARAMETERS + OPERATIONS, device=GPU)
    return Inputs(pixels[0], pixels[1], torch.zeros(0, 1, 4, device=GPU), latents, uniform[:, 0], uniform)


def read_again(config: GANConfig, images: int) -> Course:
    """As a recorded update reads the schedule."""
    course, alpha = course_at(config, images), torch.zeros((), device=GPU)
    return replace(course, phase=replace(course.phase, on_device=alpha), teaching=alpha)


@pytest.mark.parametrize(
    ("changes", "images"),
    [
        ({}, 180),
        ({"precision": "bf16", "augment": "adaptive", "loss": "r1", "blur": True}, 40),
        ({"variant": "image2image", "augment": "diffaugment", "loss": "relativistic"}, 0),
    ],
    ids=str,
)
def test_an_update_touches_nothing_beside_the_gpu(changes: dict[str, Any], images: int) -> None:
    config, context = tiny(cuda_graph=True, **changes), Interruptible(Path("unused"), device=str(GPU))
    with arithmetic(config, GPU):
        state = TrainingState.initial(config, GPU)
        course = read_again(config, images)
        assert course.phase.fades == (images == 40)
        run_update(state, inputs_for(state), course, None, context)  # makes Adam's state and other things that stay
        inputs = inputs_for(state)
        with OnDeviceOnly():
            statistics = run_update(state, inputs, course, None, context)
    assert statistics.device == GPU
    for optimiser in (state.generator_optimiser, state.discriminator_optimiser):
        assert {each["step"].device for each in optimiser.state.values()} == {GPU}
        assert optimiser.param_groups[0]["capturable"]


def test_what_is_elsewhere_is_found() -> None:
    on_gpu, on_host = torch.zeros(3, device=GPU), torch.zeros(3)
    moves = (lambda: torch.zeros(3), on_gpu.cpu, lambda: on_host.to(GPU), lambda: on_gpu + torch.ones(()))
    for move in moves:
        with pytest.raises(OffDeviceError), OnDeviceOnly():
            move()
