"""How a GPU computes a training run: what it rounds, and whether it repeats itself bit for bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.utils.deterministic

torch_deterministic: Any = torch.utils.deterministic
WARN = 1
"""torch's debug mode in which it takes kernels that repeat themselves, and warns of one that has no such twin."""


class Arithmetic(Protocol):
    """What a training run's config says of it."""

    @property
    def precision(self) -> str: ...
    @property
    def deterministic(self) -> bool: ...


@contextmanager
def arithmetic(config: Arithmetic, device: torch.device) -> Iterator[None]:
    """Within it torch rounds as `config.precision` says and, on a GPU, repeats itself if `config.deterministic`.

    The settings are of the whole process; those of before come back. A CPU repeats itself anyhow.
    """
    exact = config.deterministic
    mode, fills = torch.get_deterministic_debug_mode(), torch_deterministic.fill_uninitialized_memory
    with torch.backends.cudnn.flags(
        enabled=True, deterministic=exact, benchmark=not exact, allow_tf32=config.precision != "fp32"
    ):
        if exact and device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first matrix product
            torch.set_deterministic_debug_mode(WARN)
            torch_deterministic.fill_uninitialized_memory = False  # nothing reads it, and filling takes time
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(mode)
            torch_deterministic.fill_uninitialized_memory = fills


def order_matters(images: torch.Tensor) -> bool:
    """Whether sums over `images` must be taken in a fixed order, for which some of torch's kernels have no code."""
    return images.is_cuda and torch.are_deterministic_algorithms_enabled()
