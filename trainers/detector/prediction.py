"""A trained detector applied to slices."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional

from trainers.detector.config import DetectorConfig
from trainers.detector.model import build_model
from trainers.evaluation.matching import DETECTION_COLUMNS
from trainers.exceptions import TrainingError

MAX_DETECTIONS = 300
"""Most detections of one slice."""
UNHURRIED = 3600.0
"""Seconds an image may take in the library's NMS, which otherwise drops images on a slow machine."""


@dataclass(frozen=True)
class Detector:
    """A network in evaluation mode and the settings it was trained with."""

    model: nn.Module
    config: DetectorConfig
    device: torch.device


def load_detector(folder: Path, device: torch.device | str = "cpu") -> Detector:
    """The detector that `train_detector` wrote into `folder`.

    Raises:
        TrainingError: `folder` is not a trained detector, or one of another version.
    """
    missing = [name for name in ("config.json", "model.pt") if not (folder / name).is_file()]
    if missing:
        raise TrainingError(f"{folder} is not a trained detector: it lacks {', '.join(missing)}. Train one first.")
    try:
        config = DetectorConfig.model_validate_json((folder / "config.json").read_text())
    except ValidationError as error:
        wrong = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise TrainingError(
            f"{folder}/config.json is not of this version of metsweep: {wrong}. Train the detector again."
        ) from error
    model = build_model(config)
    model.load_state_dict(torch.load(folder / "model.pt", map_location="cpu", weights_only=True))
    device = torch.device(device)
    return Detector(model.to(device).eval(), config, device)


def trained_slice_size(folder: Path) -> int | None:
    """Side in pixels of the slices that the detector in `folder` was trained on, or None where it does not tell."""
    return _selection(folder).get("slice_size")


def trained_on_synthetic(folder: Path) -> int:
    """How many synthetic slices the detector in `folder` was trained on; 0 where it does not tell."""
    return _selection(folder).get("synthetic_slices", 0)


def _selection(folder: Path) -> dict[str, Any]:
    file = folder / "selection.json"
    return json.loads(file.read_text()) if file.is_file() else {}


@torch.no_grad()
def predict(detector: Detector, images: np.ndarray, confidence: float = 0.001, batch: int = 32) -> pd.DataFrame:
    """Detections on slices, at the detector's validation resolution.

    Args:
        images: N x S x S uint8.
        confidence: detections below it are dropped.
        batch: slices per forward pass.

    Returns:
        Columns DETECTION_COLUMNS: `slice` the position in `images` (int64), the box in slice pixels within 0..S,
        the confidence in 0..1; by slice, then by falling confidence, at most MAX_DETECTIONS a slice.
    """
    from ultralytics.utils.nms import non_max_suppression

    size, target = images.shape[1], detector.config.validation_size
    tables = []
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + batch]))[:, None].to(detector.device)
        scaled = functional.interpolate(pixels.float() / 255, (target, target), mode="bilinear", antialias=True)
        raw = detector.model(scaled.contiguous(memory_format=torch.channels_last))
        kept = non_max_suppression(
            raw, confidence, detector.config.nms_iou, max_det=MAX_DETECTIONS, nc=1, max_time_img=UNHURRIED
        )
        for i, found in enumerate(cast("list[torch.Tensor]", kept)):
            table = found[:, :5].double().cpu().numpy()
            table[:, :4] = np.clip(table[:, :4] * (size / target), 0, size)
            tables.append(np.column_stack([np.full(len(table), start + i), table]))
    rows = np.concatenate(tables) if tables else np.zeros((0, 6))
    return pd.DataFrame(rows, columns=list(DETECTION_COLUMNS)).astype({"slice": np.int64})
