"""A GPU that computes nothing: finds out, on any machine, what an update would do on one that cannot be recorded.

torch's fake tensors know device, format and shape of every result, but its engine of differentiation needs the device
itself. Here nodes of the graph are called one by one, as the engine does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainers.gan import layers

GPU = torch.device("cuda", 0)


class OffDeviceError(Exception):
    pass


class OnDeviceOnly(TorchDispatchMode):
    """Within it an operation that reads or makes a tensor of another device is refused."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, Tensor) and tensor.device != GPU:
                raise OffDeviceError(f"{func}: {tuple(tensor.shape)} on {tensor.device}")
        return result


class _Fake(FakeTensorMode):
    def __deepcopy__(self, memo: Any) -> _Fake:
        return self  # that of a network's copy, too


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Within it tensors on GPU can be made and differentiated; all of them are fake."""
    with (
        patch.object(nn.Module, "to", _moved),
        patch.object(Tensor, "backward", _backward),
        patch.object(torch.autograd, "grad", _grad),
        _Fake(),
    ):
        yield
    layers._cells.cache_clear()  # it would give them to a real GPU


def _moved(module: nn.Module, device: torch.device) -> nn.Module:
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            on_device = torch.empty_like(parameter, device=device)
            setattr(part, name, nn.Parameter(on_device, parameter.requires_grad))
    return module


@torch.no_grad()
def _backward(output: Tensor) -> None:
    for leaf, gradient in _gradients(output):
        leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient


def _grad(output: Tensor, leaf: Tensor, create_graph: bool) -> tuple[Tensor]:
    with torch.set_grad_enabled(create_graph):
        return (dict(_gradients(output))[leaf],)


def _gradients(output: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Leaves of a scalar's graph, and its gradient with respect to each."""
    root: Any = output.grad_fn
    waiting: Counter[Any] = Counter()
    seen, found = {root}, [root]
    for node in found:
        for child, _ in node.next_functions:
            if child is not None:
                waiting[child] += 1
                if child not in seen:
                    seen.add(child)
                    found.append(child)
    given: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    given[root][output.output_nr] = torch.ones_like(output)
    ready, leaves = [root], []
    while ready:
        node = ready.pop()
        gradients = [_fitting(given[node].get(place), meta) for place, meta in enumerate(node._input_metadata)]
        if hasattr(node, "variable"):
            leaves.append((node.variable, gradients[0]))
            continue
        results = getattr(node, "apply", node)(*gradients)
        # A Python function's arguments that are no tensors are its last ones, and have no gradient.
        for (child, place), gradient in zip(node.next_functions, _as_sequence(results), strict=False):
            if child is None:
                continue
            if gradient is not None:
                earlier = given[child].get(place)
                given[child][place] = gradient if earlier is None else earlier + gradient
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return leaves


def _fitting(gradient: Tensor | None, meta: Any) -> Tensor:
    if gradient is None:
        return torch.zeros(meta.shape, dtype=meta.dtype, device=meta.device)
    return gradient.sum_to_size(meta.shape).to(meta.dtype)


def _as_sequence(results: Any) -> Sequence[Tensor | None]:
    return results if isinstance(results, tuple) else (results,)
