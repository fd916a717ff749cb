"""Augmentation of what the discriminator sees, for training sets that it could learn by heart.

DiffAugment (Zhao et al. 2020) and adaptive augmentation (Karras et al. 2020a), for brains. The geometry is the same for
a slice, its synthetic partner and their condition, as boxes must stay on tumours; grey levels change in slices alone.
Nothing is turned by more than a few degrees or upside down: brains have an orientation that the generator would lose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.gan.arithmetic import order_matters

MAX_SHIFT = 0.125
"""Of the slice's side."""
MAX_LOG_ZOOM = math.log(1.2)
MAX_TURN = math.radians(10)
MAX_BRIGHTNESS = 0.2
"""Of the range from -1 to 1, i.e. 26 grey levels."""
MAX_LOG_CONTRAST = math.log(1.5)
CUTOUT = 0.25
"""Side of the erased square, as a share of the slice's."""
PARAMETERS = 8
OPERATIONS = 6


@dataclass(frozen=True)
class Augmentation:
    """One change per slice; each of its six parts takes place or not."""

    to_source: Tensor
    """N x 2 x 3: where in the slice a pixel of the result comes from, in the coordinates of `affine_grid`."""
    brightness: Tensor
    """N x 1 x 1 x 1, added."""
    contrast: Tensor
    """N x 1 x 1 x 1, factor about the slice's mean."""
    erased: Tensor
    """N x 3: x and y of the erased square's centre in -1..1, and 1 or 0, whether it is erased."""

    @classmethod
    def draw(cls, uniform: Tensor, probability: Tensor) -> Augmentation:
        """From N x (PARAMETERS + OPERATIONS) uniform numbers and the probability (scalar) of each part."""
        symmetric, chance = 2 * uniform[:, :PARAMETERS] - 1, uniform[:, PARAMETERS:]
        happens = (chance < probability).float()
        shift_x, shift_y, zoom, turn, brightness, contrast, erased_x, erased_y = symmetric.unbind(1)
        shifted, zoomed, turned, brightened, contrasted, erased = happens.unbind(1)
        scale = torch.exp(-MAX_LOG_ZOOM * zoom * zoomed)
        angle = MAX_TURN * turn * turned
        cosine, sine = scale * angle.cos(), scale * angle.sin()
        x, y = (2 * MAX_SHIFT * shift * shifted for shift in (shift_x, shift_y))
        to_source = torch.stack([torch.stack([cosine, -sine, x], 1), torch.stack([sine, cosine, y], 1)], 1)
        return cls(
            to_source,
            (MAX_BRIGHTNESS * brightness * brightened).view(-1, 1, 1, 1),
            torch.exp(MAX_LOG_CONTRAST * contrast * contrasted).view(-1, 1, 1, 1),
            torch.stack([erased_x, erased_y, erased], 1),
        )

    def images(self, images: Tensor) -> Tensor:
        """Change slices: N x 1 x R x R, -1 (black) to 1 (white); differentiable once. Pixels from outside are black."""
        moved = self._moved(images + 1) - 1
        mean = moved.mean(dim=(2, 3), keepdim=True)
        lit = (moved - mean) * self.contrast + mean + self.brightness
        return torch.where(self._erased(images), -1.0, lit)

    def condition(self, condition: Tensor) -> Tensor:
        """Move the conditions (N x 1 x R x R, 0 to 1) with their slices; a box that is erased in part stays whole."""
        return self._moved(condition)

    def _moved(self, images: Tensor) -> Tensor:
        grid = F.affine_grid(self.to_source, list(images.shape), align_corners=False)
        if order_matters(images):
            return interpolated(images, grid)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _erased(self, images: Tensor) -> Tensor:
        at = torch.linspace(-1 + 1 / images.shape[-1], 1 - 1 / images.shape[-1], images.shape[-1], device=images.device)
        x, y, happens = self.erased.view(-1, 3, 1, 1).unbind(1)
        inside = ((at.view(1, 1, -1) - x).abs() < CUTOUT) & ((at.view(1, -1, 1) - y).abs() < CUTOUT)
        return (inside & (happens > 0)).unsqueeze(1)


def interpolated(images: Tensor, grid: Tensor) -> Tensor:
    """Bilinear `grid_sample` of N x 1 x R x R images, whose gradient a GPU can sum in a fixed order; it is slower.

    Args:
        grid: N x R x R x 2, x and y from -1 to 1 (edges, not centres, of the outer pixels); zeros lie outside.
    """
    side = images.shape[-1]
    framed = F.pad(images.squeeze(1), (1, 1, 1, 1))
    image = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    at = (grid + 1) * side / 2 + 0.5  # in pixels of the frame, whose first centre is at 0
    first = at.floor()
    total = torch.zeros_like(images.squeeze(1))
    for step in torch.cartesian_prod(*2 * [torch.arange(2, device=images.device)]):
        corner = first + step
        column, row = corner.clamp(0, side + 1).long().unbind(-1)
        total = total + (1 - (at - corner).abs()).prod(-1) * framed[image, row, column]
    return total.unsqueeze(1)


def overfitting(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """How surely the discriminator distinguishes real from synthetic: 0 (not at all) to 1 (in every pair); scalar.

    The mean sign of the score of a real slice minus that of the synthetic slice with the same condition. It takes the
    part of r_t (Karras et al. 2020a, equation 1), the mean sign of real scores: a Wasserstein critic has no zero.
    """
    return (on_real - on_fake).sign().mean()


def adapted(probability: Tensor, signal: Tensor, target: float, step: float | Tensor) -> Tensor:
    """The probability, a step nearer to where the overfitting signal meets its target; all scalars."""
    return (probability + step * (signal - target).sign()).clamp(0.0, 1.0)
