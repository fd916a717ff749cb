"""A trained detector applied to slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from trainers.detector.architecture import QUERIES
from trainers.detector.config import DetectorConfig
from trainers.detector.model import build_model
from trainers.matching import DETECTION_COLUMNS
from trainers.torchvision_kernels import load_kernels
from trainers.weights import check_folder, load_network

MAX_DETECTIONS = 300
"""Most detections of one slice."""


@dataclass(frozen=True)
class Detector:
    """A network in evaluation mode and the settings it was trained with."""

    model: nn.Module
    config: DetectorConfig
    device: torch.device


def load_detector(folder: Path, device: torch.device | str = "cpu") -> Detector:
    """The detector that `train_detector` wrote into `folder`; TrainingError as in `check_folder` and `load_network`."""
    check_folder(folder, "model.pt", "detector")
    remedy = "Copy the whole folder again, or train the detector again."
    config, model = load_network(folder, "model.pt", DetectorConfig, build_model, remedy)
    device = torch.device(device)
    return Detector(model.to(device).eval(), config, device)


@torch.no_grad()
def predict(detector: Detector, images: np.ndarray, confidence: float = 0.001, batch: int = 32) -> pd.DataFrame:
    """Detections on slices, at the detector's validation resolution.

    Args:
        images: N x S x S uint8.
        confidence: detections below it are dropped.
        batch: slices per forward pass.

    Returns:
        Columns DETECTION_COLUMNS: `slice` the position in `images` (int64), the box in slice pixels within 0..S,
        the confidence in 0..1; by slice, then by falling confidence, at most MAX_DETECTIONS per slice.
    """
    load_kernels()
    size, target = images.shape[1], detector.config.validation_size
    tables = []
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + batch]))[:, None].to(detector.device)
        scaled = functional.interpolate(pixels.float() / 255, (target, target), mode="bilinear", antialias=True)
        raw = detector.model(scaled.contiguous(memory_format=torch.channels_last))[0]
        if detector.config.dense:
            boxes = detections(raw, confidence, detector.config.nms_iou)
        else:
            boxes = most_confident(_corners(raw, detector.config), confidence)
        tables.append(boxes.double().cpu().numpy())
        tables[-1][:, 0] += start
    rows = np.concatenate(tables) if tables else np.zeros((0, 6))
    rows[:, 1:5] = np.clip(rows[:, 1:5] * (size / target), 0, size)
    return pd.DataFrame(rows, columns=list(DETECTION_COLUMNS)).astype({"slice": np.int64})


def most_confident(boxes: torch.Tensor, confidence: float) -> torch.Tensor:
    """What is left of the boxes of a network without non-maximum suppression, at most MAX_DETECTIONS per image.

    Args:
        boxes: B x K x 5: x0, y0, x1, y1 and the confidence.
        confidence: boxes must have more.

    Returns:
        As `detections`.
    """
    kept = []
    for position, boxes_of_image in enumerate(boxes):
        candidates = boxes_of_image[boxes_of_image[:, 4] > confidence]
        best = candidates[:, 4].argsort(descending=True, stable=True)[:MAX_DETECTIONS]
        kept.append(functional.pad(candidates[best], (1, 0), value=position))
    return torch.cat(kept)


def _corners(raw: torch.Tensor, config: DetectorConfig) -> torch.Tensor:
    """Output of a network without non-maximum suppression (B x K x 6, with the class) as B x K x 5, in pixels."""
    if config.head != QUERIES:
        return raw[..., :5]
    centre, extent, scores, _ = raw.split((2, 2, 1, 1), dim=2)
    corners = torch.cat([centre - extent / 2, centre + extent / 2], dim=2) * config.validation_size
    return torch.cat([corners, scores], dim=2)


def detections(raw: torch.Tensor, confidence: float, iou: float) -> torch.Tensor:
    """What is left of the network's boxes after non-maximum suppression, at most MAX_DETECTIONS per image.

    The same boxes as from Ultralytics' `non_max_suppression`, ties included, which loops over boxes in Python, waiting
    for the GPU at each, unless torchvision was imported.

    Args:
        raw: B x 5 x A: centre, width and height in pixels, and the confidence.
        confidence: boxes must have more.
        iou: of two boxes that overlap more, the less confident is dropped.

    Returns:
        K x 6: the image's position in the batch, x0, y0, x1, y1, confidence; by image, then by falling confidence.
    """
    centre, extent, scores = raw.transpose(1, 2).split((2, 2, 1), dim=2)
    boxes = torch.cat([centre - extent / 2, centre + extent / 2, scores], dim=2)
    most = float(np.float32(iou))  # the kernel compares in double precision, the library in single
    kept = []
    for position, boxes_of_image in enumerate(boxes):
        candidates = boxes_of_image[boxes_of_image[:, 4] > confidence]
        candidates = candidates[candidates[:, 4].argsort(descending=True)]
        best = torch.ops.torchvision.nms(candidates[:, :4], candidates[:, 4], most)[:MAX_DETECTIONS]
        kept.append(functional.pad(candidates[best], (1, 0), value=position))
    return torch.cat(kept)
