"""What runs cost: GPU and CPU time, and money where prices are set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from sweep.store import Cost
from trainers.exceptions import ConfigError


@dataclass(frozen=True)
class Prices:
    """Of one hour, in whatever currency they were set in."""

    gpu_hour: float = 0.0
    """Of one GPU: METSWEEP_GPU_HOUR_PRICE."""
    cpu_hour: float = 0.0
    """Of one CPU core: METSWEEP_CPU_HOUR_PRICE."""

    @staticmethod
    def from_environment() -> Prices:
        """The prices of this process; 0 where none is set.

        Raises:
            ConfigError: one is not a number of 0 or more.
        """
        return Prices(_price("METSWEEP_GPU_HOUR_PRICE"), _price("METSWEEP_CPU_HOUR_PRICE"))

    def tags(self, costs: Sequence[Cost]) -> dict[str, str]:
        """Tags of a run whose stages took `costs`."""
        gpu_seconds = sum(cost.gpu_seconds for cost in costs)
        cpu_seconds = sum(cost.cpu_seconds for cost in costs)
        tags = {"metsweep.gpu_seconds": f"{gpu_seconds:.1f}", "metsweep.cpu_seconds": f"{cpu_seconds:.1f}"}
        if self.gpu_hour or self.cpu_hour:
            tags["metsweep.cost"] = f"{(gpu_seconds * self.gpu_hour + cpu_seconds * self.cpu_hour) / 3600:.4f}"
        return tags


def _price(variable: str) -> float:
    text = os.environ.get(variable, "0")
    try:
        price = float(text)
    except ValueError:
        price = -1.0
    if not 0 <= price < float("inf"):
        raise ConfigError(f"{variable} is {text!r}; allowed: the price of one hour, a number of 0 or more, or unset.")
    return price
