"""The loss that a detector was trained with, of slices one by one, without waiting for the GPU.

Ultralytics' `v8DetectionLoss` picks the boxes that matter with `nonzero`, whose length the host must know, and divides
by a sum over the batch. Here every pair of a box and an anchor point is computed and the others are weighted 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import TaskAlignedAssigner, bbox2dist, make_anchors


class DetectorLoss:
    """Loss of a YOLO network of one class; its parts have the gains in `model.args`."""

    def __init__(self, model: Any) -> None:
        self._library: Any = v8DetectionLoss(model)
        library = self._library.assigner
        settings = {name: getattr(library, name) for name in ("topk", "num_classes", "alpha", "beta", "stride", "eps")}
        self._assigner = _Assigner(**settings, topk2=library.topk2)
        self._anchors: tuple[Tensor, Tensor] | None = None

    def __call__(self, raw: dict[str, Any], boxes: Tensor) -> Tensor:
        """The mean over the slices of what the library's loss gives for each slice alone; scalar.

        Args:
            raw: the network's outputs for N slices, always of the same size.
            boxes: N x M x 4 (x0, y0, x1, y1) in pixels of the network; rows of zeros fill up.
        """
        library = self._library
        distances, scores = (raw[name].permute(0, 2, 1).contiguous() for name in ("boxes", "scores"))
        if self._anchors is None:  # made on the host
            self._anchors = make_anchors(raw["feats"], library.stride, 0.5)
        points, strides = self._anchors
        predicted = library.bbox_decode(points, distances)
        _, targets, wanted, foreground, _ = self._assigner(
            scores.detach().sigmoid(),
            predicted.detach() * strides,
            points * strides,
            torch.zeros_like(boxes[..., :1]),
            boxes,
            (boxes.sum(2, keepdim=True) > 0).float(),
        )
        of_class = library.bce(scores, wanted)
        weight, targets = wanted * foreground.unsqueeze(-1), targets / strides
        of_box = (1 - bbox_iou(predicted, targets, xywh=False, CIoU=True)) * weight
        reach = bbox2dist(points, targets, library.reg_max - 1)
        of_distance = library.bbox_loss.dfl_loss(distances.view(-1, library.reg_max), reach.view(-1, 4))
        of_distance = of_distance.view_as(weight) * weight
        gains = library.hyp
        total = gains.box * of_box + gains.cls * of_class + gains.dfl * of_distance
        return (total.sum((1, 2)) / wanted.sum((1, 2)).clamp(min=1)).mean()


class _Assigner(TaskAlignedAssigner):
    """Which anchor points a box is learnt at: the library's choice, by masks in place of lists."""

    @override
    def get_box_metrics(
        self, pd_scores: Tensor, pd_bboxes: Tensor, gt_labels: Tensor, gt_bboxes: Tensor, mask_gt: Tensor, **extra: Any
    ) -> tuple[Tensor, Tensor]:
        overlaps = self.iou_calculation(gt_bboxes.unsqueeze(2), pd_bboxes.unsqueeze(1))
        overlaps = torch.where(mask_gt.bool(), overlaps, 0.0)
        return pd_scores.transpose(1, 2).pow(self.alpha) * overlaps.pow(self.beta), overlaps

    @override
    def select_candidates_in_gts(
        self, xy_centers: Tensor, gt_bboxes: Tensor, mask_gt: Tensor, eps: float = 1e-9
    ) -> Tensor:
        low, high = gt_bboxes.unsqueeze(2).chunk(2, 3)
        centre, half = (low + high) / 2, (high - low).clamp(min=self.stride_val) / 2
        return ((xy_centers - (centre - half) > eps) & (centre + half - xy_centers > eps)).all(-1)
