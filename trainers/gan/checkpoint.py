"""Everything that a GAN's training run is made of, saved and restored as one."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers.exceptions import TrainingError
from trainers.gan.config import GANConfig
from trainers.gan.image2image import ConvolutionalDiscriminator, UNetGenerator
from trainers.gan.layers import stddev_group
from trainers.gan.networks import CPGGANDiscriminator, CPGGANGenerator, Discriminator, Generator

FILE = "training.pt"
Report = dict[str, float]


def build_generator(config: GANConfig, weights: torch.Generator | None = None) -> Generator:
    """The variant's generator on the CPU; initial weights are drawn from `weights` (seeded by the config if None)."""
    weights = weights or torch.Generator().manual_seed(config.seed)
    return UNetGenerator(config, weights) if config.variant == "image2image" else CPGGANGenerator(config, weights)


@dataclass
class TrainingState:
    """Networks, optimisers and history after `images` images were shown."""

    config: GANConfig
    generator: Generator
    discriminator: Discriminator
    average: Generator
    """Exponential moving average of the generator; the network that is delivered."""
    generator_optimiser: torch.optim.Optimizer
    discriminator_optimiser: torch.optim.Optimizer
    images: int = 0
    history: list[Report] = field(default_factory=list)
    """One report a line: images, time (seconds since 1970), resolution, alpha and mean losses since the last."""
    snapshots: list[Tensor] = field(default_factory=list)
    """The averaged generator's slices for the same noise and boxes at several moments, each N x H x W uint8."""

    @classmethod
    def initial(cls, config: GANConfig, local_batch: int, device: torch.device) -> TrainingState:
        """Fresh networks on `device`, the same for equal seeds; a worker shows `local_batch` images a step."""
        weights = torch.Generator().manual_seed(config.seed)
        generator = build_generator(config, weights)
        discriminator: Discriminator
        if config.variant == "image2image":
            discriminator = ConvolutionalDiscriminator(config, weights)
        else:
            discriminator = CPGGANDiscriminator(config, stddev_group(local_batch), weights)
        generator.to(device)
        discriminator.to(device)
        average = copy.deepcopy(generator).requires_grad_(False)
        return cls(config, generator, discriminator, average, _adam(generator, config), _adam(discriminator, config))

    def save(self, folder: Path) -> None:
        """Write the state into an existing folder."""
        torch.save(
            {
                "config": self.config.model_dump_json(),
                "modules": {name: module.state_dict() for name, module in self._modules().items()},
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self._optimisers().items()},
                "images": self.images,
                "history": self.history,
                "snapshots": self.snapshots,
            },
            folder / FILE,
        )

    def restore(self, folder: Path) -> None:
        """Continue from a saved state.

        Raises:
            TrainingError: there is no such state in the folder, or it belongs to another config.
        """
        if not (folder / FILE).is_file():
            raise TrainingError(f"{folder} is not a checkpoint of a GAN: it lacks {FILE}. Remove it to start afresh.")
        device = next(self.generator.parameters()).device
        saved: dict[str, Any] = torch.load(folder / FILE, map_location=device, weights_only=True)
        if saved["config"] != self.config.model_dump_json():
            raise TrainingError(
                f"{folder} is a checkpoint of another run: its config is {saved['config']}, this run's is "
                f"{self.config.model_dump_json()}; allowed: equal. Remove it to start afresh."
            )
        for name, module in self._modules().items():
            module.load_state_dict(saved["modules"][name])
        for name, optimiser in self._optimisers().items():
            optimiser.load_state_dict(saved["optimisers"][name])
        self.images = saved["images"]
        self.history = saved["history"]
        self.snapshots = [snapshot.cpu() for snapshot in saved["snapshots"]]

    def _modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator, "average": self.average}

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": self.generator_optimiser, "discriminator": self.discriminator_optimiser}


def _adam(module: nn.Module, config: GANConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(module.parameters(), lr=config.learning_rate, betas=(config.beta1, config.beta2))
