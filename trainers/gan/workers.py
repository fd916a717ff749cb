"""What several workers do together: equal weights at the start, averaged gradients at every step.

DistributedDataParallel cannot do it: the gradient penalty needs a double backward, for which it averages wrongly.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainers.exceptions import TrainingError


def check_group(world_size: int) -> None:
    """Raises TrainingError when several workers have no process group, or one of another size."""
    if world_size > 1 and not (dist.is_initialized() and dist.get_world_size() == world_size):
        raise TrainingError(
            f"A GAN run on {world_size} workers needs a torch.distributed process group of that size; "
            "start it through trainers.distributed.train_on_ray."
        )


def broadcast(module: nn.Module, world_size: int) -> None:
    """Give every worker rank 0's parameters."""
    if world_size > 1:
        for parameter in module.parameters():
            dist.broadcast(parameter.data, src=0)


def average_gradients(module: nn.Module, world_size: int) -> None:
    """Replace the gradients by their mean over all workers, with a single all-reduce."""
    if world_size > 1:
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= world_size
        pieces = flat.split([gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))


def average_tensor(values: Tensor, world_size: int) -> Tensor:
    """Mean of a tensor over all workers."""
    if world_size > 1:
        dist.all_reduce(values)
        values = values / world_size
    return values
