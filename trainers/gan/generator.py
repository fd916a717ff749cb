"""A trained generator, as `train_gan` wrote it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from pydantic import ValidationError

from trainers.exceptions import TrainingError
from trainers.gan.checkpoint import build_generator
from trainers.gan.config import GANConfig
from trainers.gan.networks import Generator
from trainers.gan.sampling import sample, unit
from trainers.gan.schedule import Phase


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
        digest = hashlib.sha256()
        for name, value in self._network.state_dict().items():
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()

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
        size = self.config.resolution
        if conditions.shape[1:] != (size, size):
            raise TrainingError(f"Conditioning images are {conditions.shape[1:]}; allowed: {(size, size)} pixels.")
        return sample(self._network, unit(conditions, self.device), latents, Phase(size, 1.0))


def load_generator(gan_dir: Path, device: torch.device) -> TrainedGenerator:
    """Open what `train_gan` wrote into `gan_dir`.

    Raises:
        TrainingError: the folder holds no trained GAN, or one whose weights are not whole or of another config.
    """
    weights = gan_dir / "generator.pt"
    try:
        config = GANConfig.model_validate_json((gan_dir / "config.json").read_bytes())
        loaded = torch.load(weights, map_location="cpu", weights_only=True)
    except (FileNotFoundError, ValidationError) as error:
        raise TrainingError(f"{gan_dir} holds no trained GAN ({error}); `metsweep train gan` makes one.") from error
    except (OSError, EOFError, RuntimeError, ValueError, UnpicklingError) as error:
        raise TrainingError(
            f"{weights} cannot be read as a generator's weights ({_first_line(error)}); is it complete? Copy the whole "
            "folder again, or train the GAN again with `metsweep train gan`."
        ) from error
    network = build_generator(config)
    try:
        network.load_state_dict(loaded)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise TrainingError(
            f"{weights} holds other weights than those of the GAN in {gan_dir / 'config.json'} ({_first_line(error)}); "
            "both files must come from one run of `metsweep train gan`. Copy the whole folder again."
        ) from error
    return TrainedGenerator(config, network.requires_grad_(False), device)


def _first_line(error: Exception) -> str:
    """Torch's messages go on with advice on loading unsafe files, or list every weight."""
    return str(error).split("\n", 1)[0].rstrip(":") or type(error).__name__
