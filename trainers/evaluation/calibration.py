"""Does a confidence mean what it says? Detections binned by confidence beside the share of them that hit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trainers.evaluation.outcome import Outcome

BINS = 10


def calibration(outcomes: Sequence[Outcome]) -> pd.DataFrame | None:
    """Detections in ten equal steps of confidence from 0 to 1, of one detector or pooled over several (seeds).

    Returns:
        Columns `low`, `high`, `detections`, `confidence` (mean) and `precision` (share that hits a lesion), for bins
        with detections; None if a confidence is not within 0 to 1.
    """
    confidence = np.concatenate([outcome.detections["confidence"].to_numpy(dtype=np.float64) for outcome in outcomes])
    hit = np.concatenate([outcome.hit for outcome in outcomes])
    if len(confidence) and not (confidence.min() >= 0 and confidence.max() <= 1):
        return None
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    table = pd.DataFrame({"bin": bins, "confidence": confidence, "precision": hit.astype(np.float64)})
    pooled = table.groupby("bin").agg(
        detections=("confidence", "size"), confidence=("confidence", "mean"), precision=("precision", "mean")
    )
    edges = pooled.index.to_numpy() / BINS
    return pooled.assign(low=edges, high=edges + 1 / BINS).reset_index(drop=True)


def calibration_error(table: pd.DataFrame) -> float | None:
    """Expected calibration error: mean distance of confidence and precision over detections; None without any."""
    count = table["detections"].sum()
    gap = (table["confidence"] - table["precision"]).abs()
    return float((gap * table["detections"]).sum() / count) if count else None
