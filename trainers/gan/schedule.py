"""The schedule of progressive growing: a pure function of the images shown, so that resuming needs one number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.gan.config import GANConfig


@dataclass(frozen=True)
class Phase:
    """Where training stands: at `resolution` pixels, of which the share `alpha` (0 to 1) is faded in."""

    resolution: int
    alpha: float
    on_device: Tensor | None = None
    """Read in place of `alpha`, but for whether anything fades, by an update that is recorded once and then replayed at
    every alpha below 1; scalar."""

    @property
    def fades(self) -> bool:
        """Whether the resolution before still takes part."""
        return self.alpha < 1.0

    def blend(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """What is shown of two tensors of one shape: of the resolution before and of this one."""
        if self.on_device is None:
            return torch.lerp(coarse, fine, self.alpha)
        return torch.lerp(coarse.float(), fine.float(), self.on_device).to(fine.dtype)  # a factor of bf16 has 7 bits


def phase_at(config: GANConfig, images: float) -> Phase:
    """The phase after `images` real images were shown.

    Each resolution but the first starts with a linear fade from alpha 0 to 1 and goes on with alpha 1; the first has no
    fade and the last goes on until the end (Karras et al. 2018, section 2). A GAN that does not grow has one.
    """
    left = images / 1000
    for resolution in config.resolutions():
        fade = config.fade_length(resolution)
        if left < fade:
            return Phase(resolution, left / fade)
        left -= fade + config.stable_length(resolution)
        if left < 0:
            return Phase(resolution, 1.0)
    return Phase(config.resolution, 1.0)
