"""The detector's settings; the defaults are the paper's (section 2.3), the library's where the paper is silent."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainers.config import Config, Seed
from trainers.detector.architecture import DENSE, PAPER, Network, head_of

STRIDE = 32
"""Coarsest stride of YOLOv3; network resolutions are multiples of it."""
AUGMENTATION = (
    "degrees", "translate", "scale", "shear", "flipud", "fliplr", "mosaic", "copy_paste", "intensity",
)  # fmt: skip
"""Settings that change how slices are shown, and nothing else."""


class DetectorConfig(Config):
    """A detector and how it is trained, from scratch: `DetectorConfig()` is the paper's YOLOv3."""

    model: Network = Field(default=PAPER, exclude_if=lambda model: model == PAPER)
    """`yolov3`, `yolov3-tiny`, `yolo11n` (or s, m, l, x), `rtdetr-l`, or the path of a detection network's YAML file in
    the form of Ultralytics; its content, not its place, decides what is made anew."""
    width: float = Field(default=1.0, gt=0, le=16)
    """Multiplies the channels of every layer (rounded up to multiples of 8), whatever the model; at most 16, which no
    GPU holds."""
    depth: float = Field(default=1.0, gt=0, le=16)
    """Multiplies the repeats of every block, whatever the model (at least one is kept)."""
    box_bins: int = Field(default=16, ge=4, le=1024)
    """Bins of the head's distance distribution: a side reaches `box_bins - 1` strides from its anchor point. RT-DETR
    has none, nor the initial values below."""
    initial_reach: float | None = Field(default=None, gt=0)
    """Mean initial distance of a box's sides from its anchor point, in strides; none = the library's, all bins alike.

    A target's weight grows with the overlap of the predicted box, and untrained boxes of the library are 15 strides
    wide: they hardly overlap a metastasis, so that almost nothing is learnt from the first thousands of slices.
    """
    initial_confidence: float | None = Field(default=None, gt=0, lt=1)
    """Initial confidence of every anchor point; none = the library's, set for 640-pixel photographs."""
    initial_variation: float = Field(default=1.0, ge=0, le=1, exclude_if=lambda factor: factor == 1)
    """Factor on the initial weights of the head's last layers; none of RT-DETR's.

    With a small one an untrained detector predicts the initial values at every anchor point. With the library's (1) a
    short run was seen to learn nothing for hundreds of steps.
    """
    nms_iou: float = Field(default=0.45, gt=0, lt=1)
    """Of two detections that overlap more than this, the less confident is dropped; not by models without
    non-maximum suppression, as RT-DETR."""

    train_size: int = Field(default=416, ge=STRIDE, le=4096, multiple_of=STRIDE)
    """Network resolution in training, pixels."""
    validation_size: int = Field(default=608, ge=STRIDE, le=4096, multiple_of=STRIDE)
    """Network resolution in validation and prediction, pixels; larger, to see small tumours better."""

    batch: int = Field(default=64, ge=1, le=65_536)
    """Slices of one step, over all workers."""
    steps: int = Field(default=240_000, ge=1, le=10**9)
    """Optimiser steps, the same for every arm: more synthetic slices do not mean more updates. At most a billion, which
    no run ends."""
    epochs: float | None = Field(default=None, gt=0, le=1e6)
    """Instead of `steps`: passes over all slices of the arm, so that more synthetic slices do mean more updates."""
    synthetic_share: float | None = Field(default=None, ge=0, le=1)
    """Share of the slices shown that is synthetic, where the arm has any; none = both kinds are pooled, and every slice
    is shown equally often."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Adam's learning rate after the warm-up."""
    final_learning_rate: float = Field(default=1e-3, ge=0)
    """Learning rate of the last step, reached along a cosine; equal to `learning_rate` = constant."""
    warmup_steps: int = Field(default=1000, ge=0, le=10**9)
    """Steps over which the learning rate rises from 0. A run with fewer steps ends while it still rises, below
    `learning_rate`."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """L2 penalty on convolution weights."""
    ema_decay: float = Field(default=0.9999, ge=0, lt=1)
    """Largest decay of the moving average of the weights, which is what is evaluated and kept."""
    ema_ramp_steps: float = Field(default=2000, gt=0)
    """The decay rises as 1 - exp(-step / ema_ramp_steps), so that a short run is not averaged with its start."""
    box_gain: float = Field(default=7.5, ge=0)
    """Weight of the box loss (CIoU). RT-DETR's losses have weights of their own."""
    class_gain: float = Field(default=0.5, ge=0)
    """Weight of the tumour-or-not loss."""
    distance_gain: float = Field(default=1.5, ge=0)
    """Weight of the loss on the distance distribution."""

    evaluate_every: int = Field(default=4000, ge=1, le=10**9)
    """Steps between checkpoints, and between evaluations on the validation split."""
    select_from: float = Field(default=0.4, ge=0, le=1)
    """Share of the steps from which the validation split is evaluated and the best weights may be picked (96,000)."""
    selection_confidence: float = Field(default=0.001, ge=0, lt=1)
    """Confidence threshold of the selection."""
    selection_iou: float = Field(default=0.5, gt=0, le=1)
    """IoU threshold of the selection."""

    degrees: float = Field(default=0.0, ge=0, le=180)
    """Largest rotation to either side, degrees."""
    translate: float = Field(default=0.1, ge=0, lt=1)
    """Largest shift, as share of the slice."""
    scale: float = Field(default=0.5, ge=0, lt=1)
    """Largest zoom in or out: 0.5 = half to one and a half."""
    shear: float = Field(default=0.0, ge=0, lt=90)
    """Largest shear, degrees."""
    flipud: float = Field(default=0.0, ge=0, le=1)
    """Probability of an up-down flip."""
    fliplr: float = Field(default=0.5, ge=0, le=1)
    """Probability of a left-right flip."""
    mosaic: float = Field(default=0.0, ge=0, le=1, exclude_if=lambda share: share == 0)
    """Probability that a slice is shown as one of four in a mosaic (the library's)."""
    copy_paste: float = Field(default=0.0, ge=0, le=1, exclude_if=lambda share: share == 0)
    """Share of a slice's lesions that is also shown at the mirrored places, cut out along the ellipses in their boxes
    (the library's `copy_paste`)."""
    intensity: float = Field(default=0.4, ge=0, lt=1)
    """Largest relative change of brightness, and of the exponent of a gamma curve; replaces the library's changes of
    hue, saturation and value, which a grey slice does not have."""

    amp: bool = False
    """Automatic mixed precision (bfloat16, whose range needs no loss scaling); on a GPU only."""
    seed: Seed = 0
    """Seed of the initial weights, the order of the slices and their augmentation."""

    @property
    def model_name(self) -> str:
        """The model's name, or that of its file."""
        return self.model if isinstance(self.model, str) else self.model.file

    @property
    def head(self) -> str:
        """Last layer of the model: `architecture.DENSE`, `END_TO_END` or `QUERIES`."""
        return head_of(self.model)

    @property
    def dense(self) -> bool:
        """Whether every point of the feature maps predicts a box, and all are learnt from by YOLO's loss."""
        return self.head == DENSE

    @model_validator(mode="after")
    def _rate_falls(self) -> DetectorConfig:
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate is {self.final_learning_rate}; allowed: at most learning_rate "
                f"({self.learning_rate})"
            )
        return self
