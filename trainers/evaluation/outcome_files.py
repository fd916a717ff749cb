"""Reads the tables of an evaluation; imports no torch, which reading them does not need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from trainers.data.slice_set import Split
from trainers.evaluation.outcome import BOX, LESION_COLUMNS, Outcome, name_of, outcomes_of_tables

TABLES = ("slices", "lesions", "detections")
"""Each is a file NAME.parquet of the evaluation's folder."""


def read_outcomes(
    folder: Path, split: Split, ious: Sequence[float], confidence: float | None = None
) -> dict[float, Outcome]:
    """What an evaluation found on one split, from the tables that `evaluate` wrote into `folder`.

    Args:
        confidence: detections below it, of which FROC curves need most, are not read.
    """
    of_split = [("split", "==", split)]
    sure = [] if confidence is None else [("confidence", ">=", confidence)]
    hits = [f"lesion_row_{name_of(iou)}" for iou in ious]
    tables = {
        "slices": pd.read_parquet(folder / "slices.parquet", filters=of_split),
        "lesions": pd.read_parquet(folder / "lesions.parquet", columns=[*LESION_COLUMNS], filters=of_split),
        "detections": pd.read_parquet(
            folder / "detections.parquet", columns=["slice", *BOX, "confidence", *hits], filters=[*of_split, *sure]
        ),
    }
    return outcomes_of_tables(tables, ious)
