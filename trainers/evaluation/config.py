"""The settings of an evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from trainers.config import Config, Seed


class EvaluationConfig(Config):
    """How detections are counted: `EvaluationConfig()` is the paper's Table 1."""

    confidence: float = Field(default=0.001, ge=0, lt=1)
    """Detections less confident than this are not counted (0.1 %)."""
    froc_confidence: float = Field(default=1e-5, ge=0, lt=1)
    """Detections down to this confidence are kept for the FROC curve; at most `confidence`. Well below it, so that
    arms can be compared at equal false positives."""
    ious: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(0.5, 0.25), min_length=1, max_length=100)
    """IoU thresholds."""
    bootstraps: int = Field(default=2000, ge=100, le=100_000)
    """Resamples of the patients behind every interval; at most 100,000, as a matrix holds one for each patient."""
    batch: int = Field(default=32, ge=1, le=65_536)
    """Slices per forward pass."""
    seed: Seed = 0
    """Decides the resamples and the shuffles of the chance level."""

    @model_validator(mode="after")
    def _keeps_what_it_counts(self) -> EvaluationConfig:
        if self.froc_confidence > self.confidence:
            raise ValueError(
                f"froc_confidence is {self.froc_confidence}; allowed: at most confidence ({self.confidence})"
            )
        if len({round(100 * iou) for iou in self.ious}) < len(self.ious):
            raise ValueError(f"ious: {list(self.ious)} lists a threshold more than once after rounding to 0.01")
        return self
