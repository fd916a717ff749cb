"""The settings of an evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainers.config import Config


class EvaluationConfig(Config):
    """How detections are counted: `EvaluationConfig()` is the paper's Table 1."""

    confidence: float = Field(default=0.001, ge=0, lt=1)
    """Detections less confident than this are dropped (0.1 %)."""
    ious: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(0.5, 0.25), min_length=1)
    """IoU thresholds."""
    batch: int = Field(default=32, ge=1)
    """Slices per forward pass."""
