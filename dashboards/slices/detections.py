"""What one trial's detector found: read from its evaluation, down to the confidence that the study counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from dashboards.slices.sets import Indexed
from dashboards.web.recent import Recent
from sweep.store import Artifact
from trainers.data.slice_set import Split
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.outcome import Outcome
from trainers.evaluation.outcome_files import read_outcomes

MOST_KEPT = 16
"""Trials, splits and IoU thresholds whose detections are kept in memory."""


@dataclass(frozen=True)
class Found:
    """Hits, misses and false positives of one detector on one split at one IoU threshold."""

    outcome: Outcome
    rows: np.ndarray
    """Of each slice of the split, its row in the slice set; int64."""

    @cached_property
    def position_of(self) -> dict[int, int]:
        """Row of a slice in the slice set -> its position in the split."""
        return {row: position for position, row in enumerate(self.rows.tolist())}

    @cached_property
    def lesion_rows(self) -> np.ndarray:
        """Of each lesion, the row of its slice."""
        return self.rows[self._places(self.outcome.truth.lesions)]

    @cached_property
    def fps(self) -> np.ndarray:
        """False positives on each slice of the split."""
        return self._count(self.outcome.detections[~self.outcome.hit])

    @cached_property
    def found(self) -> np.ndarray:
        """Lesions found on each slice of the split."""
        return self._count(self.outcome.truth.lesions[self.outcome.found])

    @cached_property
    def missed(self) -> np.ndarray:
        """Lesions missed on each slice of the split."""
        return self._count(self.outcome.truth.lesions[~self.outcome.found])

    def at(self, confidence: float | None) -> Found:
        """The same without detections below a confidence."""
        return self if confidence is None else Found(self.outcome.at(confidence), self.rows)

    def _count(self, table: pd.DataFrame) -> np.ndarray:
        return np.bincount(self._places(table), minlength=len(self.rows))

    @staticmethod
    def _places(table: pd.DataFrame) -> np.ndarray:
        return table["slice"].to_numpy(dtype=np.int64)


class Detections:
    """The detections that were read last, of any study."""

    def __init__(self) -> None:
        self._kept: Recent[Found] = Recent(MOST_KEPT)

    def read(self, artifact: Artifact, slices: Indexed, split: Split, iou: float, config: EvaluationConfig) -> Found:
        """Of an evaluate artifact.

        Raises:
            DamagedArtifact: its files are damaged.
        """
        key = (artifact.manifest.publication, split, iou)
        return self._kept.get(key, lambda: _read(artifact, slices, split, iou, config))


def _read(artifact: Artifact, slices: Indexed, split: Split, iou: float, config: EvaluationConfig) -> Found:
    outcome = read_outcomes(artifact.path, split, (iou,), config.confidence)[iou]
    rows = np.array([slices.row_of[name] for name in outcome.truth.slices["slice_id"]], dtype=np.int64)
    return Found(outcome, rows)
