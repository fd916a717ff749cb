"""torchvision's compiled kernels without its Python package, which takes 2 s of CPU time and torch._dynamo to import.

After `load_kernels`, `torch.ops.torchvision` holds them, in milliseconds, and whoever imports torchvision later may.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from trainers.exceptions import TrainingError


@cache
def load_kernels() -> None:
    """Make `torch.ops.torchvision.nms` and the others known; TrainingError if torchvision does not fit torch."""
    spec = find_spec("torchvision")
    libraries = sorted(Path(spec.origin).parent.glob("_C*.so")) if spec and spec.origin else []
    try:
        for library in libraries:
            torch.ops.load_library(library)
        _ = torch.ops.torchvision.nms
    except (OSError, AttributeError) as error:
        raise TrainingError(
            f"torchvision's kernels do not load ({error}); needed: the torchvision that belongs to torch "
            f"{torch.__version__}. Install both together, as constraints.txt pins them."
        ) from error
