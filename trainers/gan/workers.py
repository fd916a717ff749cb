"""What several workers do together: the same state at the start, averaged gradients at every step, equal weights after.

DistributedDataParallel cannot do this: the gradient penalty needs a double backward, for which it averages wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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


def from_first(payload: bytes | None, world_size: int) -> bytes | None:
    """Rank 0's payload on every worker: the others' disks need not hold the checkpoint."""
    if world_size == 1:
        return payload
    box = [payload]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def average_gradients(module: nn.Module, loss: Tensor, share: float, world_size: int) -> Tensor:
    """Replace the gradients by their mean over the step's images, with a single all-reduce.

    Args:
        module: holds a gradient for the same parameters on every worker.
        loss: this worker's, scalar without gradient.
        share: this worker's part of the step's images.
        world_size: number of workers.

    Returns:
        The mean of the loss.
    """
    if world_size == 1:
        return loss
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    flat = average(torch.cat([loss.view(1), *(gradient.flatten() for gradient in gradients)]), share, world_size)
    mean, *pieces = flat.split([1, *(gradient.numel() for gradient in gradients)])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))
    return mean.squeeze(0)


def average(values: Tensor, share: float, world_size: int) -> Tensor:
    """Mean of a tensor over the step's images, of which this worker has a share."""
    if world_size > 1:
        values = values * share
        dist.all_reduce(values)
    return values


def check_equal(modules: Iterable[nn.Module], world_size: int) -> None:
    """Raises TrainingError on every rank when the workers' weights differ, bit for bit."""
    if world_size == 1:
        return
    sums = torch.stack([_digest(list(module.parameters())) for module in modules]).flatten()
    least, greatest = sums.clone(), sums.clone()
    dist.all_reduce(least, dist.ReduceOp.MIN)
    dist.all_reduce(greatest, dist.ReduceOp.MAX)
    if not torch.equal(least, greatest):
        raise TrainingError(
            "The workers' networks are no longer equal, so their average would be of different models. Do all nodes "
            "have the same torch, CUDA and GPU model? Start again: training goes on from the last checkpoint."
        )


def _digest(parameters: Sequence[Tensor]) -> Tensor:
    """Two numbers that nearly always change when a weight does."""
    bits = torch.cat([parameter.detach().flatten() for parameter in parameters]).view(torch.int32).long()
    return torch.stack([bits.sum(), (bits * torch.arange(1, len(bits) + 1, device=bits.device)).sum()])
