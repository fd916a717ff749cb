"""The frozen detector's loss on synthetic slices: what it measures, what its gradient reaches, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.trainers.disc_slices import SIZE, FolderContext, tiny_config
from tests.trainers.gan.tiny_runs import tiny
from tests.trainers.gan.waiting import NoWaiting
from trainers.data.slice_set import SliceSet
from trainers.detector.prediction import load_detector, predict
from trainers.detector.training import train_detector
from trainers.exceptions import TrainingError
from trainers.gan.feedback import DetectorFeedback, enlarged, feedback_weight, padded
from trainers.gan.sampling import grey, signed
from trainers.matching import FREE_OF_LESION, match

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def detector(discs: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for a few steps: it finds nothing yet."""
    return trained(discs, tmp_path_factory.mktemp("detector"), validation_size=96)


@pytest.fixture(scope="module")
def skilled(discs: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained until it finds discs."""
    settings = {"width": 0.125, "steps": 200, "evaluate_every": 100, "batch": 8}
    return trained(discs, tmp_path_factory.mktemp("skilled"), **settings, learning_rate=3e-3, warmup_steps=20)


def trained(discs: SliceSet, folder: Path, **settings: Any) -> Path:
    train_detector(tiny_config(**settings), discs, [], 0, folder, FolderContext(folder / "checkpoint"))
    return folder


@pytest.fixture(scope="module")
def feedback(detector: Path) -> DetectorFeedback:
    return DetectorFeedback(detector, SIZE, CPU)


@pytest.fixture(scope="module")
def shown(discs: SliceSet) -> tuple[torch.Tensor, list[np.ndarray]]:
    """Four validation slices with discs, N x 1 x S x S from -1 to 1, and their boxes."""
    rows = discs.indices("validation", "tumour")[:4]
    boxes = discs.boxes_by_slice()
    return signed(np.ascontiguousarray(discs.images[rows]), CPU), [boxes[row] for row in rows]


def loss_of(feedback: DetectorFeedback, images: torch.Tensor, boxes: Sequence[np.ndarray]) -> torch.Tensor:
    return feedback(images, torch.from_numpy(padded(boxes)))


def recall(detector: Path, images: torch.Tensor, boxes: list[np.ndarray]) -> float:
    found = predict(load_detector(detector), grey(images).numpy(), confidence=0.25)
    return (match(found, boxes, 0.25) != FREE_OF_LESION).sum() / sum(map(len, boxes))


def test_it_is_the_librarys_loss_of_each_slice_as_it_is_predicted(
    detector: Path, feedback: DetectorFeedback, shown: tuple[torch.Tensor, list[np.ndarray]]
) -> None:
    """With overlapping boxes, boxes smaller than a stride, five of them and none."""
    from ultralytics.utils.loss import v8DetectionLoss

    images, boxes = shown
    tiny_box = boxes[1][:1, [0, 1, 0, 1]] + np.array([0, 0, 1, 1])
    boxes = [boxes[0], np.concatenate([boxes[1], boxes[1] + 1, tiny_box, boxes[2], boxes[3]]), boxes[2], boxes[3][:0]]
    model: Any = load_detector(detector).model
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    library, losses, seen = v8DetectionLoss(model), [], images.clone().requires_grad_()
    for image, pixels in zip(seen.split(1), boxes, strict=True):
        share = torch.tensor(pixels, dtype=torch.float32).view(-1, 4) / SIZE
        low, high = share.chunk(2, dim=1)
        batch = {
            "batch_idx": torch.zeros(len(share)),
            "cls": torch.zeros(len(share), 1),
            "bboxes": torch.cat([(low + high) / 2, high - low], 1),
        }
        enlarged_slice = F.interpolate(image * 0.5 + 0.5, (96, 96), mode="bilinear", antialias=True)
        losses.append(library(model(enlarged_slice), batch)[0].sum())
    torch.stack(losses).mean().backward()
    ours = images.clone().requires_grad_()
    loss = loss_of(feedback, ours, boxes)
    loss.backward()
    assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    assert seen.grad is not None
    assert ours.grad is not None
    inside = seen.detach().abs() < 1  # where grey levels are clipped, ours lead back
    torch.testing.assert_close(ours.grad[inside], seen.grad[inside], rtol=1e-3, atol=1e-7)


def test_the_host_does_not_wait_for_it(
    feedback: DetectorFeedback, shown: tuple[torch.Tensor, list[np.ndarray]]
) -> None:
    images, boxes = shown[0].clone().requires_grad_(), torch.from_numpy(padded(shown[1]))
    feedback(images, boxes)
    with NoWaiting():
        feedback(images, boxes).backward()


@pytest.mark.parametrize("resolution", [4, 16, 96, 128])
def test_enlarging_in_a_fixed_order_is_that_of_torch(resolution: int) -> None:
    images = torch.rand(2, 1, resolution, resolution, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(enlarged(images, 96, True), enlarged(images, 96, False), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_boxes_elsewhere_cost_more(skilled: Path, shown: tuple[torch.Tensor, list[np.ndarray]]) -> None:
    images, boxes = shown
    feedback = DetectorFeedback(skilled, SIZE, CPU)
    moved = [(found + SIZE / 2) % SIZE for found in boxes]
    assert loss_of(feedback, images, boxes) < 0.7 * loss_of(feedback, images, moved)


def test_slices_do_not_depend_on_each_other(
    feedback: DetectorFeedback, shown: tuple[torch.Tensor, list[np.ndarray]]
) -> None:
    images, boxes = shown
    boxes = [np.concatenate([boxes[0], boxes[1]]), *boxes[1:3], np.zeros((0, 4), np.float32)]
    together = images.clone().requires_grad_()
    total = loss_of(feedback, together, boxes)
    total.backward()
    assert together.grad is not None
    alone = []
    for i, pixels in enumerate(boxes):
        image = images[i : i + 1].clone().requires_grad_()
        alone.append(loss_of(feedback, image, [pixels]))
        alone[-1].backward()
        assert image.grad is not None
        torch.testing.assert_close(together.grad[i : i + 1], image.grad / len(boxes), rtol=1e-3, atol=1e-7)
    assert total.item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-5)


def test_slices_without_any_box(feedback: DetectorFeedback, shown: tuple[torch.Tensor, list[np.ndarray]]) -> None:
    images = shown[0].clone().requires_grad_()
    loss = loss_of(feedback, images, [np.zeros((0, 4))] * len(images))
    loss.backward()
    assert images.grad is not None
    assert loss.item() > 0
    assert images.grad.abs().amax(dim=(1, 2, 3)).min() > 0


@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
def test_the_gradient_reaches_images_of_every_resolution_and_nothing_of_the_detector(
    detector: Path, shown: tuple[torch.Tensor, list[np.ndarray]], resolution: int
) -> None:
    feedback = DetectorFeedback(detector, SIZE, CPU)
    model = feedback._model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = F.adaptive_avg_pool2d(shown[0], resolution).requires_grad_()
    loss_of(feedback, images, shown[1]).backward()
    assert images.grad is not None
    assert images.grad.shape == (4, 1, resolution, resolution)
    assert images.grad.abs().amax(dim=(1, 2, 3)).min() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.slow
def test_its_gradient_makes_the_detector_find_the_boxes(
    skilled: Path, shown: tuple[torch.Tensor, list[np.ndarray]]
) -> None:
    images, boxes = shown
    feedback = DetectorFeedback(skilled, SIZE, CPU)
    assert recall(skilled, images, boxes) == 1.0, "the detector finds real discs"
    blank = torch.full_like(images, -0.7).requires_grad_()
    assert recall(skilled, blank.detach(), boxes) == 0.0
    optimiser = torch.optim.Adam([blank], lr=0.1)
    for _ in range(40):
        optimiser.zero_grad()
        loss_of(feedback, blank, boxes).backward()
        optimiser.step()
    assert recall(skilled, blank.detach(), boxes) >= 0.75


def test_grey_levels_outside_are_led_back_but_not_further_out(
    feedback: DetectorFeedback, shown: tuple[torch.Tensor, list[np.ndarray]]
) -> None:
    images, boxes = shown
    inside = images.clamp(-1, 1).clone()
    inside[:, :, ::2] = -1.0
    inside[:, :, 1::2, ::2] = 1.0
    outside = inside.clone()
    outside[inside == -1.0] = -1.5
    outside[inside == 1.0] = 1.5
    inside.requires_grad_()
    outside.requires_grad_()
    losses = [loss_of(feedback, variable, boxes) for variable in (inside, outside)]
    assert losses[0].item() == losses[1].item(), "slices are clipped when they are kept"
    for loss in losses:
        loss.backward()
    assert inside.grad is not None
    assert outside.grad is not None
    back = ((outside < -1) & (inside.grad < 0)) | ((outside > 1) & (inside.grad > 0))
    further = ((outside < -1) & (inside.grad > 0)) | ((outside > 1) & (inside.grad < 0))
    assert back.any()
    assert further.any()
    assert torch.equal(outside.grad[back], inside.grad[back])
    assert not outside.grad[further].any()


def test_detectors_that_cannot_teach_are_refused(
    detector: Path, discs: SliceSet, synthetic_discs: SliceSet, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"is not a trained detector: it lacks config\.json"):
        DetectorFeedback(discs.path, SIZE, CPU)
    with pytest.raises(TrainingError, match=r"trained on slices of 32 x 32 pixels, but gan\.resolution is 64"):
        DetectorFeedback(detector, 64, CPU)
    train_detector(tiny_config(), discs, [synthetic_discs], 5, tmp_path, FolderContext(tmp_path / "checkpoint"))
    with pytest.raises(TrainingError, match=r"was trained on 5 synthetic slices too; allowed: real slices only"):
        DetectorFeedback(tmp_path, SIZE, CPU)


def test_the_weight_rises_when_the_last_resolution_fades_in() -> None:
    config = tiny(variant="cpggan+detector", detector_weight=2.0, detector_ramp_kimg=0.04)
    # 30 images at 4 px, then 30 + 30 at 8 px; 16 px fade in from there.
    expected = {0: 0.0, 89: 0.0, 90: 0.0, 100: 0.5, 110: 1.0, 130: 2.0, 200: 2.0, 10**6: 2.0}
    assert {images: feedback_weight(config, images) for images in expected} == pytest.approx(expected)


def test_start_and_ramp_of_the_weight() -> None:
    at_once = tiny(variant="cpggan+detector", detector_weight=3.0, detector_start_kimg=0.0, detector_ramp_kimg=0.0)
    assert [feedback_weight(at_once, images) for images in (0, 8, 10**6)] == [3.0, 3.0, 3.0]
    later = tiny(variant="cpggan+detector", detector_weight=3.0, detector_start_kimg=0.05, detector_ramp_kimg=0.0)
    assert [feedback_weight(later, images) for images in (0, 49, 50, 51)] == [0.0, 0.0, 3.0, 3.0]
