"""Noise, images and conditions for networks of tiny runs."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.trainers.gan.tiny_runs import SIZE
from trainers.gan.schedule import Phase

FULL = Phase(SIZE, 1.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(count: int, size: int = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    random = seeded(1)
    condition = torch.zeros(count, 1, size, size)
    condition[:, :, 1:3, : size // 2] = 1.0
    return torch.randn(count, 8, generator=random), torch.randn(count, 1, size, size, generator=random), condition
