"""How much a call computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def flops(run: Callable[[], None]) -> int:
    """Floating point operations of the convolutions and matrix products that a call runs, in whatever direction."""
    with _FlopCounter() as counter:
        run()
    return counter.total


class _FlopCounter(TorchDispatchMode):
    """PyTorch's FlopCounterMode also tells modules apart, with hooks that fail where gradients are taken twice."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result
