"""What makes several workers equal to one with the whole batch: one loss, one batch norm, one state.

The ranks share every step's batch evenly. Import after `prepare_library`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from typing_extensions import override
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss

from trainers.detector.checkpoint import RunState
from trainers.detector.exchange import SumOverRanks


class LossOverRanks(v8DetectionLoss):
    """The library's loss, divided by the sum of all ranks' target scores instead of this rank's own.

    The mean over the ranks of its values, and so of its gradients, is what one rank has on the whole batch.
    """

    def __init__(self, model: DetectionModel) -> None:
        super().__init__(model)
        self._assign, self.assigner = self.assigner, self._assign_and_remember
        self._scores = torch.zeros(())

    def _assign_and_remember(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        assigned = self._assign(*args, **kwargs)
        self._scores = assigned[2].sum()
        return assigned

    @override
    def get_assigned_targets_and_loss(
        self, preds: dict[str, Tensor], batch: dict[str, Any], **assign_kwargs: Any
    ) -> tuple[Any, Tensor, dict[str, Tensor]]:
        assigned, loss, items = super().get_assigned_targets_and_loss(preds, batch, **assign_kwargs)
        every = self._scores.clone()
        dist.all_reduce(every)
        # The library clamps the sum that it divides by.
        factor = dist.get_world_size() * self._scores.clamp(min=1) / every.clamp(min=1)
        return assigned, loss * factor, {name: value * factor for name, value in items.items()}


class BatchNormOverRanks(nn.BatchNorm2d):
    """Batch norm that trains with the statistics of all ranks' equally large batches; torch's own needs a GPU."""

    def __init__(self, norm: nn.BatchNorm2d, total: SumOverRanks) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict())
        self.total = total

    @override
    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        return _NormaliseOverRanks.apply(input, self.weight, self.bias, self)  # pyright: ignore[reportReturnType]


class _NormaliseOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: BatchNormOverRanks) -> Tensor:
        ranks = dist.get_world_size()
        mean, variance = (part.double() for part in torch.batch_norm_update_stats(x, None, None, 0.0))
        mean, square = (norm.total(torch.cat([mean, variance + mean**2])) / ranks).chunk(2)
        variance = square - mean**2

        count = ranks * x.numel() // x.shape[1]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        momentum = norm.momentum or 0.0
        norm.running_mean.lerp_(mean.float(), momentum)
        norm.running_var.lerp_((variance * count / (count - 1)).float(), momentum)
        norm.num_batches_tracked += 1

        ctx.save_for_backward(x, weight, mean, variance)
        ctx.norm = norm
        return nn.functional.batch_norm(x, mean.float(), variance.float(), weight, bias, False, 0.0, norm.eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (gradient,) = gradients
        x, weight, mean, variance = ctx.saved_tensors
        eps, count = ctx.norm.eps, dist.get_world_size() * x.numel() // x.shape[1]
        # As if the statistics were constants; what comes through them is added below.
        through, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean.float(), variance.float(), None, None, False, eps, [True, True, True]
        )
        by_weight_of_all, by_bias_of_all = ctx.norm.total(torch.cat([by_weight, by_bias]).double()).chunk(2)
        inverse = (variance + eps).rsqrt()
        slope = -weight * inverse**2 * by_weight_of_all / count
        offset = -weight * inverse * by_bias_of_all / count - slope * mean
        shape = (1, -1, 1, 1)
        through.addcmul_(x, slope.float().view(shape)).add_(offset.float().view(shape))
        return through, by_weight, by_bias, None


def normalise_over_ranks(model: nn.Module, device: torch.device) -> None:
    """Replace every batch norm of `model` by one over all ranks; names and values of its state are kept."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    norms = [norm for norm in model.modules() if isinstance(norm, nn.BatchNorm2d)]
    total = SumOverRanks(2 * max(norm.num_features for norm in norms))
    for parent in list(model.modules()):
        for name, norm in parent.named_children():
            if isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, BatchNormOverRanks(norm, total))


def state_of_first_rank(state: RunState | None, identity: str, device: torch.device) -> RunState:
    """Rank 0's `state` on every rank, through the process group: other nodes need not reach the checkpoint's disk."""
    held: list[Any] = [None]
    if state is not None:
        held = [{name: getattr(state, name) for name in ("step", "model", "ema", "ema_updates", "optimizer")}]
    dist.broadcast_object_list(held, src=0, device=device)
    return state or RunState(identity, **held[0])


def mean_over_ranks(values: Tensor, world_size: int) -> Tensor:
    """The mean of a tensor over all ranks."""
    if world_size > 1:
        dist.all_reduce(values)
        values = values / world_size
    return values
