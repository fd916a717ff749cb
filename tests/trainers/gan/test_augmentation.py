from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.gan.augmentation import OPERATIONS, PARAMETERS, Augmentation, adapted, interpolated, overfitting

COUNT, SIDE = 64, 32


def slices() -> tuple[Tensor, Tensor]:
    """Grey brains with a white box, and the conditioning images of the boxes."""
    condition = torch.zeros(COUNT, 1, SIDE, SIDE)
    condition[:, :, 14:20, 10:18] = 1.0
    images = torch.full_like(condition, -1.0)
    images[:, :, 4:28, 4:28] = 0.0
    return torch.where(condition > 0, 1.0, images), condition


def augmentation(probability: float, seed: int = 0) -> Augmentation:
    uniform = torch.rand(COUNT, PARAMETERS + OPERATIONS, generator=torch.Generator().manual_seed(seed))
    return Augmentation.draw(uniform, torch.tensor(probability))


def test_probability_0_changes_nothing() -> None:
    images, condition = slices()
    torch.testing.assert_close(augmentation(0.0).images(images), images)
    torch.testing.assert_close(augmentation(0.0).condition(condition), condition)


def test_boxes_stay_on_their_tumours() -> None:
    images, condition = slices()
    change = augmentation(1.0)
    made, moved = change.images(images), change.condition(condition)
    erased = change._erased(images)
    inside, outside = (moved > 0.99) & ~erased, (moved < 0.01) & ~erased
    assert (moved - condition).abs().amax(dim=(1, 2, 3)).gt(0.5).float().mean() > 0.8
    for image, within, without in zip(made, inside, outside, strict=True):
        if within.any():
            assert image[within].min() > image[without].max() - 1e-4


def test_nothing_is_turned_far_or_mirrored() -> None:
    rotations = augmentation(1.0).to_source[:, :, :2]
    assert torch.linalg.det(rotations).min() > 0.6
    cosines = rotations[:, 0, 0] / torch.linalg.det(rotations).sqrt()
    assert cosines.min() > 0.98
    assert cosines.min() < 0.999


def test_each_part_takes_place_as_often_as_asked() -> None:
    changed = (augmentation(0.25).brightness != 0).float().mean()
    assert changed.item() == pytest.approx(0.25, abs=0.15)


def test_the_generator_learns_through_it() -> None:
    images, _ = slices()
    images.requires_grad_()
    augmentation(1.0).images(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().amax(dim=(1, 2, 3)).min() > 0


def test_the_probability_follows_the_signal() -> None:
    assert overfitting(torch.tensor([2.0, 3.0, 1.0, 5.0]), torch.tensor([1.0, 1.0, 1.5, 1.0])) == 0.5
    probability = torch.tensor(0.5)
    assert adapted(probability, torch.tensor(0.9), 0.6, 0.01) == pytest.approx(0.51)
    assert adapted(probability, torch.tensor(0.1), 0.6, 0.01) == pytest.approx(0.49)
    assert adapted(torch.tensor(0.0), torch.tensor(0.1), 0.6, 0.01) == 0


@pytest.mark.parametrize("side", [4, 32])
def test_interpolation_in_a_fixed_order_is_that_of_torch(side: int) -> None:
    change = augmentation(1.0)
    images = torch.rand(COUNT, 1, side, side, generator=torch.Generator().manual_seed(1))
    grid = F.affine_grid(change.to_source, [COUNT, 1, side, side], align_corners=False)
    weights = torch.rand(COUNT, 1, side, side, generator=torch.Generator().manual_seed(2))
    made, gradients = [], []
    for sample in (interpolated, partial(F.grid_sample, mode="bilinear", padding_mode="zeros", align_corners=False)):
        shown = images.clone().requires_grad_()
        made.append(sample(shown, grid))
        gradients.append(torch.autograd.grad((made[-1] * weights).sum(), shown)[0])
    torch.testing.assert_close(made[0], made[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-5)
