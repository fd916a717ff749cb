"""Everything that an inpainter's training run is made of, saved and restored together."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

from trainers.exceptions import TrainingError
from trainers.inpainting.config import InpaintConfig
from trainers.inpainting.network import build_network
from trainers.weights import load_saved

FILE = "training.pt"
SAVED_AS_IS = ("images", "history", "snapshots")


@dataclass
class TrainingState:
    """Network, optimiser and history after `images` windows were shown."""

    config: InpaintConfig
    network: UNet2DModel
    average: UNet2DModel
    """Exponential moving average of the network; the one that is delivered."""
    optimiser: torch.optim.Optimizer
    images: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """One report per line: windows, time (seconds since 1970) and mean loss since the last."""
    snapshots: list[Tensor] = field(default_factory=list)
    """What the averaged network drew into the same windows at several moments, each N x W x W uint8."""

    @classmethod
    def initial(cls, config: InpaintConfig, device: torch.device) -> TrainingState:
        """A fresh network on `device`, the same for equal seeds."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = build_network(config)
        nn.Module.to(network, device)
        average = copy.deepcopy(network).requires_grad_(False)
        optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        return cls(config, network, average, optimiser)

    def save(self, folder: Path) -> None:
        """Write the state into an existing folder."""
        saved = {
            "config": self.config.model_dump_json(),
            **{name: part.state_dict() for name, part in self._parts().items()},
            **{name: getattr(self, name) for name in SAVED_AS_IS},
        }
        torch.save(saved, folder / FILE)

    def restore(self, payload: bytes, folder: Path) -> None:
        """Continue from what was saved into a folder, `payload` being the content of its FILE.

        Raises:
            TrainingError: it is broken, or belongs to another config.
        """
        device = next(self.network.parameters()).device
        saved = load_saved(payload, folder / FILE, device)
        if saved["config"] != self.config.model_dump_json():
            raise TrainingError(
                f"{folder} is a checkpoint of another run, with the config {saved['config']}; allowed: the same "
                "config. Use those values, or remove the folder to start afresh."
            )
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        for name in SAVED_AS_IS:
            setattr(self, name, saved[name])
        self.snapshots = [snapshot.cpu() for snapshot in self.snapshots]

    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "average": self.average, "optimiser": self.optimiser}
