"""Finds out, without a GPU, where the host would wait for one: it asks for a number, or for how many there are."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
ASKS = (
    aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.unique_consecutive, aten._unique2, aten.equal,
    aten.bincount, aten.repeat_interleave, aten.argwhere,
)  # fmt: skip


class WaitingError(Exception):
    pass


class NoWaiting(TorchDispatchMode):
    """Within it, what a GPU would have to finish first is refused."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masks = args[1] if func.overloadpacket in (aten.index, aten.index_put_, aten.index_put) else ()
        if func.overloadpacket in ASKS or any(mask is not None and mask.dtype == torch.bool for mask in masks):
            raise WaitingError(str(func))
        return func(*args, **(kwargs or {}))
