"""A frozen detector's loss on synthetic slices, from which a generator learns.

Beyond the paper, which closes with the plan of "a new GAN loss function that directly optimizes the detection results".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.detector.prediction import load_detector
from trainers.detector.selection import trained_on_synthetic, trained_slice_size
from trainers.exceptions import TrainingError
from trainers.gan.arithmetic import order_matters
from trainers.gan.config import GANConfig


class DetectorFeedback:
    """Scores slices against the boxes that they were made for, by a detector that does not change.

    The loss is the library's that the detector was trained with (box, class and distance parts with the detector's
    gains), computed for each slice alone and averaged: it does not grow with the batch, and a slice's gradient does not
    depend on the slices beside it.
    """

    def __init__(self, detector_dir: Path, resolution: int, device: torch.device) -> None:
        """Open the detector that `train_detector` wrote.

        Args:
            resolution: side in pixels of the slices that the GAN ends with, and of those that the boxes lie in.
            device: where the slices will be.

        Raises:
            TrainingError: the folder is not a trained detector, its slices were of another size or not all real, or its
                model is of another kind.
        """
        detector = load_detector(detector_dir, device)
        size = trained_slice_size(detector_dir)
        if size not in (None, resolution):
            raise TrainingError(
                f"{detector_dir} was trained on slices of {size} x {size} pixels, but gan.resolution is {resolution}; "
                "allowed: equal. Train it on the slice set of the GAN."
            )
        if synthetic := trained_on_synthetic(detector_dir):
            raise TrainingError(
                f"{detector_dir} was trained on {synthetic} synthetic slices too; allowed: real slices only, as a "
                "GAN is not to imitate another GAN. Train the detector with `metsweep train detector SLICES`."
            )
        if not detector.config.dense:
            raise TrainingError(
                f"{detector_dir} is a {detector.config.model_name}, whose loss no GAN can learn from; allowed: models "
                "with a box at every point of their feature maps, as yolov3."
            )
        from trainers.gan.detector_loss import DetectorLoss  # Ultralytics takes seconds to import

        self._model: Any = detector.model.requires_grad_(False)
        self._resolution = resolution
        config = detector.config
        self._target = config.validation_size
        self._model.args = SimpleNamespace(box=config.box_gain, cls=config.class_gain, dfl=config.distance_gain)
        self._loss = DetectorLoss(self._model)

    def __call__(self, images: Tensor, boxes: Tensor) -> Tensor:
        """The detector's loss, a scalar with gradient with respect to the images alone.

        Args:
            images: N x 1 x R x R float, about -1 (black) to 1 (white), at any resolution R of progressive growing.
            boxes: N x M x 4 (x0, y0, x1, y1) in pixels of the last resolution, on the images' device (`padded`).
        """
        clipped: Any = _Clip.apply((images.float() + 1) / 2)
        shown = enlarged(clipped, self._target, in_order=order_matters(clipped))
        _, raw = self._model(shown.contiguous(memory_format=torch.channels_last))
        return self._loss(raw, boxes * (self._target / self._resolution))


def padded(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """N arrays of n x 4 boxes -> N x M x 4 float32; rows of zeros fill up.

    M is a power of two: one of few shapes, for each of which an update is recorded.
    """
    most = max(map(len, boxes), default=0)
    rows = np.zeros((len(boxes), 1 << (most - 1).bit_length() if most else 1, 4), np.float32)
    for row, pixels in zip(rows, boxes, strict=True):
        row[: len(pixels)] = pixels
    return rows


def enlarged(images: Tensor, side: int, in_order: bool) -> Tensor:
    """N x 1 x R x R images at `side` pixels, bilinear with antialiasing.

    Args:
        in_order: as products of matrices, whose gradient a GPU sums in a fixed order, unlike torch's own.
    """
    if not in_order:
        return F.interpolate(images, (side, side), mode="bilinear", antialias=True)
    pixels = torch.eye(images.shape[-1], device=images.device)[None, None]
    rows = F.interpolate(pixels, (side, images.shape[-1]), mode="bilinear", antialias=True)[0, 0]
    return rows @ images @ rows.t()


def open_feedback(config: GANConfig, detector: Path | None, device: torch.device) -> DetectorFeedback | None:
    """The detector that a variant learns from; None for a variant that learns from none.

    Raises:
        TrainingError: the variant needs a detector and got none, or the reverse, or the detector does not fit.
    """
    if config.traits.needs_detector and detector is None:
        raise TrainingError(
            f"gan.variant is {config.variant}, which learns from a detector, but none is given; allowed: the folder of "
            "a detector trained on real slices."
        )
    if detector and not config.traits.needs_detector:
        raise TrainingError(
            f"gan.variant is {config.variant}, which learns from no detector, but {detector} is given. Leave it out."
        )
    return DetectorFeedback(detector, config.resolution, device) if detector else None


class _Clip(torch.autograd.Function):
    """Grey levels limited to 0..1, as those of the slices that are kept.

    Unlike that of `clamp`, the gradient passes outside of 0..1 too where it leads back; where it leads further outside,
    which changes no slice, it is 0.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        outwards = ((x < 0) & (gradient > 0)) | ((x > 1) & (gradient < 0))
        return gradient.masked_fill(outwards, 0)


def feedback_weight(config: GANConfig, images_shown: int) -> float:
    """Weight of the detector's loss in the generator's: 0 until its start, then a linear ramp to `detector_weight`.

    A pure function of the images shown, so that a run resumes exactly. Without `detector_start_kimg` it starts when the
    last resolution begins to fade in: before, slices are coarser than any that the detector was trained on.
    """
    start = config.detector_start_kimg
    if start is None:
        start = config.growth_kimg - config.fade_length(config.resolution)
    after = images_shown / 1000 - start
    if after < 0:
        return 0.0
    ramp = config.detector_ramp_kimg
    return config.detector_weight * (min(after / ramp, 1.0) if ramp else 1.0)
