"""From noise and conditions to grey-level slices."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainers.gan.networks import Generator
from trainers.gan.schedule import Phase


def signed(images: np.ndarray, device: torch.device) -> Tensor:
    """N x H x W uint8 slices -> N x 1 x H x W float32, -1 (black) to 1 (white)."""
    return signed_levels(on_device(images, device))


def unit(conditions: np.ndarray, device: torch.device) -> Tensor:
    """N x H x W uint8 conditioning images -> N x 1 x H x W float32, 0 (black) to 1 (white)."""
    return unit_levels(on_device(conditions, device))


def signed_levels(images: Tensor) -> Tensor:
    """`signed`, of slices that are on their device."""
    return images.unsqueeze(1).float() / 127.5 - 1.0


def unit_levels(conditions: Tensor) -> Tensor:
    """`unit`, of conditioning images that are on their device."""
    return conditions.unsqueeze(1).float() / 255.0


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """As it is (slices as bytes, a quarter of their floats), without waiting for a GPU to take it."""
    tensor = torch.from_numpy(array)
    return (
        tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and array.size else tensor.to(device)
    )


def grey(images: Tensor) -> Tensor:
    """N x 1 x H x W, -1 to 1 (clipped) -> N x H x W uint8 on the same device."""
    return (images.squeeze(1) * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def noise(seed: int, index: int, shape: tuple[int, ...], attempt: int = 0) -> np.ndarray:
    """The noise of an attempt at image `index`: standard normal float32 that depends on these numbers alone."""
    return np.random.default_rng([seed, 3, index, attempt]).standard_normal(shape, dtype=np.float32)


def sample(generator: Generator, conditions: Tensor, latents: np.ndarray, phase: Phase) -> np.ndarray:
    """Make slices.

    Args:
        conditions: N x 1 x R x R float, 0 to 1, at the phase's resolution.
        latents: N x `generator.latent_shape` float32.

    Returns:
        N x R x R uint8.
    """
    return sample_there(generator, conditions, latents, phase).cpu().numpy()


@torch.no_grad()
def sample_there(generator: Generator, conditions: Tensor, latents: np.ndarray, phase: Phase) -> Tensor:
    """`sample`, whose slices stay on the generator's device: for a GPU they need not be done yet."""
    return grey(generator(on_device(latents, conditions.device), conditions, phase))
