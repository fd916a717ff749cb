"""A trained generator, as `train_gan` wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from trainers.exceptions import TrainingError
from trainers.gan.arithmetic import arithmetic
from trainers.gan.checkpoint import build_generator
from trainers.gan.config import GANConfig
from trainers.gan.networks import Generator
from trainers.gan.sampling import sample_there, unit
from trainers.gan.schedule import Phase
from trainers.weights import check_folder, fingerprint_of, load_network


class TrainedGenerator:
    """A trained GAN's averaged generator, ready to make slices."""

    def __init__(self, config: GANConfig, network: Generator, device: torch.device) -> None:
        self.config = config
        self.device = device
        self._network = network.to(device).eval()

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one image's noise."""
        return self._network.latent_shape

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, hexadecimal."""
        return fingerprint_of(self._network)

    def sample(self, conditions: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """Make one slice for each conditioning image.

        Args:
            conditions: N x H x W uint8, 255 within boxes, H = W = `config.resolution`.
            latents: N x `latent_shape` float32, standard normal.

        Returns:
            N x H x W uint8.

        Raises:
            TrainingError: the conditioning images have another size.
        """
        return self.start(conditions, latents)()

    def start(self, conditions: np.ndarray, latents: np.ndarray) -> Callable[[], np.ndarray]:
        """`sample`, which a GPU does meanwhile: the slices are what the function that this returns gives."""
        size = self.config.resolution
        if conditions.shape[1:] != (size, size):
            raise TrainingError(f"Conditioning images are {conditions.shape[1:]}; allowed: {(size, size)} pixels.")
        with arithmetic(self.config, self.device):
            made = sample_there(self._network, unit(conditions, self.device), latents, Phase(size, 1.0))
        return lambda: made.cpu().numpy()


def load_generator(gan_dir: Path, device: torch.device) -> TrainedGenerator:
    """Open what `train_gan` wrote into `gan_dir`; TrainingError as in `check_folder` and `load_network`."""
    check_folder(gan_dir, "generator.pt", "GAN")
    remedy = "Copy the whole folder again, or train the GAN again with `metsweep train gan`."
    config, network = load_network(gan_dir, "generator.pt", GANConfig, build_generator, remedy)
    return TrainedGenerator(config, network.requires_grad_(False), device)
