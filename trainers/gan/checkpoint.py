"""Everything that a GAN's training run is made of, saved and restored together."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from trainers.exceptions import TrainingError
from trainers.gan.config import GANConfig
from trainers.gan.image2image import ConvolutionalDiscriminator, UNetGenerator
from trainers.gan.networks import CPGGANDiscriminator, CPGGANGenerator, Discriminator, Generator
from trainers.variants import Networks
from trainers.weights import load_saved

FILE = "training.pt"
NETWORKS: dict[Networks, tuple[type[Generator], type[Discriminator]]] = {
    "cpggan": (CPGGANGenerator, CPGGANDiscriminator),
    "u-net": (UNetGenerator, ConvolutionalDiscriminator),
}
SAVED_AS_IS = ("skipped", "augment_probability", "overfitting", "images", "history", "snapshots")
Report = dict[str, float]


def build_generator(config: GANConfig, weights: torch.Generator | None = None) -> Generator:
    """The variant's generator on the CPU; initial weights are drawn from `weights` (seeded by the config if None)."""
    generator, _ = NETWORKS[config.traits.networks]
    return generator(config, weights or torch.Generator().manual_seed(config.seed))


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
    skipped: Tensor
    """How many updates were skipped because a gradient was not finite; scalar, on the device."""
    augment_probability: Tensor
    """Probability of each augmentation; scalar, on the device."""
    overfitting: Tensor
    """Running mean of the overfitting signal; scalar, on the device."""
    images: int = 0
    history: list[Report] = field(default_factory=list)
    """One report per line: images, time (seconds since 1970), resolution, alpha and mean losses since the last."""
    snapshots: list[Tensor] = field(default_factory=list)
    """The averaged generator's slices for the same noise and boxes at several moments, each N x H x W uint8."""

    @classmethod
    def initial(cls, config: GANConfig, device: torch.device) -> TrainingState:
        """Fresh networks on `device`, the same for equal seeds."""
        weights = torch.Generator().manual_seed(config.seed)
        generator = build_generator(config, weights).to(device)
        _, discriminator_class = NETWORKS[config.traits.networks]
        discriminator = discriminator_class(config, weights).to(device)
        return cls(
            config,
            generator,
            discriminator,
            average=copy.deepcopy(generator).requires_grad_(False),
            generator_optimiser=_adam(generator, config),
            discriminator_optimiser=_adam(discriminator, config),
            skipped=torch.zeros((), device=device),
            augment_probability=torch.tensor(_first_probability(config), device=device),
            overfitting=torch.zeros((), device=device),
        )

    def save(self, folder: Path) -> None:
        """Write the state into an existing folder."""
        saved = {
            "config": self.config.model_dump_json(),
            "modules": {name: module.state_dict() for name, module in self._modules().items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self._optimisers().items()},
            **{name: getattr(self, name) for name in SAVED_AS_IS},
        }
        torch.save(saved, folder / FILE)

    def restore(self, payload: bytes, folder: Path) -> None:
        """Continue from what was saved into a folder, `payload` being the content of its FILE.

        Raises:
            TrainingError: it is broken, or belongs to another config.
        """
        device = self.skipped.device
        saved = load_saved(payload, folder / FILE, device)
        if saved["config"] != self.config.model_dump_json():
            raise TrainingError(
                f"{folder} is a checkpoint of another run, in which {_differences(saved['config'], self.config)}; "
                "allowed: the same config. Use those values, or remove the folder to start afresh."
            )
        for name, module in self._modules().items():
            module.load_state_dict(saved["modules"][name])
        for name, optimiser in self._optimisers().items():
            optimiser.load_state_dict(saved["optimisers"][name])
            for group in optimiser.param_groups:  # not as on the device where it was saved
                group["capturable"] = optimiser.defaults["capturable"]
        for name in SAVED_AS_IS:
            setattr(self, name, saved[name])
        self.snapshots = [snapshot.cpu() for snapshot in self.snapshots]

    @property
    def networks(self) -> list[nn.Module]:
        """All that is trained or averaged."""
        return list(self._modules().values())

    def _modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator, "average": self.average}

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": self.generator_optimiser, "discriminator": self.discriminator_optimiser}


def _differences(saved: str, config: GANConfig) -> str:
    before, now = json.loads(saved), config.model_dump(mode="json")
    keys = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    return ", ".join(f"gan.{key} was {before.get(key)!r} (now {now.get(key)!r})" for key in keys)


def _first_probability(config: GANConfig) -> float:
    return config.augment_probability if config.augment == "diffaugment" else 0.0


def _adam(module: nn.Module, config: GANConfig) -> torch.optim.Optimizer:
    """Layers that do not take part yet have no gradient, hence no state: at a new resolution the old layers keep theirs
    and the new ones start with none."""
    parameters, betas = list(module.parameters()), (config.beta1, config.beta2)
    recorded = config.cuda_graph and parameters[0].is_cuda
    return torch.optim.Adam(parameters, lr=config.learning_rate, betas=betas, fused=True, capturable=recorded)
