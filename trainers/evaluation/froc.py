"""The free-response curve: sensitivity against false positives per slice as the confidence threshold falls."""

from __future__ import annotations

import numpy as np
import pandas as pd


def froc_points(confidence: np.ndarray, hit: np.ndarray, lesions: int, slices: int) -> pd.DataFrame:
    """One operating point for every distinct confidence.

    Greedy matching by confidence never revises a more confident detection, so one matching serves all thresholds.

    Args:
        confidence: of every detection of all slices.
        hit: whether it hits a lesion.
        lesions: lesions in all slices, at least 1.
        slices: all slices, those without lesions included.

    Returns:
        Columns `confidence`, `sensitivity`, `fps_per_slice`, by falling confidence; detections of equal confidence pass
        together. Starts with the point without detections (confidence infinite).

    Raises:
        ValueError: no lesion or no slice.
    """
    if lesions < 1 or slices < 1:
        raise ValueError(f"A FROC curve of {lesions} lesions in {slices} slices is not defined; needed: at least 1.")
    order = np.argsort(-np.asarray(confidence, dtype=np.float64), kind="stable")
    falling = np.asarray(confidence, dtype=np.float64)[order]
    last_of_equal = np.flatnonzero(np.append(np.diff(falling) != 0, True)) if len(falling) else np.zeros(0, np.int64)
    hits = np.cumsum(np.asarray(hit, dtype=bool)[order])[last_of_equal]
    return pd.DataFrame(
        {
            "confidence": np.concatenate([[np.inf], falling[last_of_equal]]),
            "sensitivity": np.concatenate([[0.0], hits / lesions]),
            "fps_per_slice": np.concatenate([[0.0], (last_of_equal + 1 - hits) / slices]),
        }
    )
