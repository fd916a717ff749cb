"""A trained inpainter, as `train_inpainter` wrote it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import nn

from trainers.gan.arithmetic import arithmetic
from trainers.gan.sampling import grey, on_device, signed
from trainers.inpainting.config import WEIGHTS_FILE, InpaintConfig
from trainers.inpainting.network import build_network, draw, surroundings_of
from trainers.inpainting.windows import Windows
from trainers.weights import check_folder, fingerprint_of, load_network


class Inpainter:
    """An averaged network, ready to draw."""

    def __init__(self, config: InpaintConfig, network: UNet2DModel, device: torch.device) -> None:
        self.config = config
        self.device = device
        self._network = network.eval()
        nn.Module.to(network, device)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, hexadecimal."""
        return fingerprint_of(self._network)

    def draw(self, windows: Windows, noise: np.ndarray) -> np.ndarray:
        """Draw lesions into windows, blended in.

        Args:
            noise: N x W x W float32, standard normal.

        Returns:
            N x W x W uint8.
        """
        with arithmetic(self.config, self.device):
            return self._draw(windows, noise)

    def _draw(self, windows: Windows, noise: np.ndarray) -> np.ndarray:
        images = signed(windows.images, self.device)
        weights, contrast, first = (
            on_device(part, self.device).unsqueeze(1) for part in (windows.weights, windows.contrast, noise)
        )
        drawn = draw(self._network, surroundings_of(images, weights, contrast), first, self.config.sampling_steps)
        return grey(images.lerp(drawn, weights)).cpu().numpy()


def load_inpainter(folder: Path, device: torch.device) -> Inpainter:
    """Open what `train_inpainter` wrote into a folder; TrainingError as in `check_folder` and `load_network`."""
    check_folder(folder, WEIGHTS_FILE, "inpainter")
    remedy = "Copy the whole folder again, or train the inpainter again."
    config, network = load_network(folder, WEIGHTS_FILE, InpaintConfig, build_network, remedy)
    return Inpainter(config, network.requires_grad_(False), device)
