"""What a detector found and missed at one IoU threshold: the tables that every figure is read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from trainers.matching import FREE_OF_LESION, matches

BOX = ("x0", "y0", "x1", "y1")
SLICE_COLUMNS = ("slice_id", "patient_id", "scanner", "volume", "z")
LESION_COLUMNS = ("slice", *BOX, "lesion", "diameter_mm")
FOLD = "fold"
"""Column of slices whose patients different detectors judge: the number of each patient's fold."""
NEVER = -np.inf
"""Confidence at which a missed lesion is found."""


@dataclass(frozen=True)
class Truth:
    """Slices and the lesions on them.

    What a source does not record is missing (NaN): `volume` and `z` of slices, `scanner`, `lesion` and `diameter_mm` of
    boxes. Figures that need it are then left out.
    """

    slices: pd.DataFrame
    """Columns SLICE_COLUMNS, one row per slice, those without lesions included; detections name its positions. Pooled
    over folds (`folds.pool_outcomes`), FOLD too."""
    lesions: pd.DataFrame
    """Columns LESION_COLUMNS, one row per box, ordered by `slice`; boxes of one 3-D lesion share a `lesion` number."""

    @cached_property
    def boxes(self) -> list[np.ndarray]:
        """A slice's boxes, n x 4 float64 pixels; n may be 0."""
        ends = np.cumsum(np.bincount(self.lesions["slice"], minlength=len(self.slices)))
        return np.split(self.lesions[list(BOX)].to_numpy(dtype=np.float64), ends[:-1])

    @cached_property
    def patients(self) -> np.ndarray:
        """Patients in order; their positions are what `patient_of_slice` holds."""
        return np.unique(self.slices["patient_id"].to_numpy(dtype=str))

    @cached_property
    def patient_of_slice(self) -> np.ndarray:
        """Position in `patients`, one per slice; int64."""
        return np.searchsorted(self.patients, self.slices["patient_id"].to_numpy(dtype=str))

    @cached_property
    def fold_of_patient(self) -> np.ndarray | None:
        """The fold of each of `patients`; None unless pooled over folds."""
        if FOLD not in self.slices:
            return None
        _, first = np.unique(self.patient_of_slice, return_index=True)
        return self.slices[FOLD].to_numpy()[first]


@dataclass(frozen=True)
class Outcome:
    """Detections matched to lesions at one IoU threshold.

    Matching is greedy by confidence, so that what a confident detection hits does not depend on weaker ones: one
    matching serves every confidence threshold.
    """

    truth: Truth
    iou: float
    detections: pd.DataFrame
    """Columns `slice`, BOX, `confidence`, and `lesion_row`: the row of `truth.lesions` it hits, or FREE_OF_LESION."""

    @cached_property
    def found_at(self) -> np.ndarray:
        """Of each row of `truth.lesions`, the confidence of the detection that hits it, NEVER if none; float64."""
        confidence = np.full(len(self.truth.lesions), NEVER)
        hits = self.detections[self.detections["lesion_row"] != FREE_OF_LESION]
        confidence[hits["lesion_row"]] = hits["confidence"]
        return confidence

    @property
    def found(self) -> np.ndarray:
        """Whether each lesion is found at all; bool."""
        return np.isfinite(self.found_at)

    @property
    def fps_per_slice(self) -> float:
        """False positives per slice."""
        return float((~self.hit).sum() / len(self.truth.slices))

    @cached_property
    def hit(self) -> np.ndarray:
        """Whether each detection hits a lesion; bool."""
        return (self.detections["lesion_row"] != FREE_OF_LESION).to_numpy()

    def at(self, confidence: float) -> Outcome:
        """The same without detections below a confidence."""
        return Outcome(self.truth, self.iou, self.detections[self.detections["confidence"] >= confidence])


def match_outcomes(detections: pd.DataFrame, truth: Truth, ious: Sequence[float]) -> dict[float, Outcome]:
    """Match detections (columns of `matching.DETECTION_COLUMNS`) to a truth at several IoU thresholds.

    Raises:
        ValueError: a detection on a slice that `truth` lacks, or one that is not finite.
    """
    positions = matches(detections, truth.boxes, ious)
    counts = np.bincount(truth.lesions["slice"], minlength=len(truth.slices))
    first = (np.cumsum(counts) - counts)[detections["slice"].to_numpy(dtype=np.int64)]
    return {
        iou: Outcome(truth, iou, detections.assign(lesion_row=np.where(at < 0, FREE_OF_LESION, first + at)))
        for iou, at in zip(ious, positions, strict=True)
    }


def name_of(iou: float) -> str:
    """Key of an IoU threshold in figures: 0.5 is `iou50`."""
    return f"iou{round(100 * iou)}"


def iou_text(name: str) -> str:
    """The inverse of `name_of`, as people write it: `iou25` is 0.25."""
    return f"{int(name.removeprefix('iou')) / 100:g}"


def with_interval(value: float, bounds: Sequence[float], digits: int) -> str:
    """`0.67 [0.55, 0.71]`."""
    return f"{value:.{digits}f} [{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"


def outcome_tables(outcomes: Mapping[float, Outcome]) -> dict[str, pd.DataFrame]:
    """Outcomes of one truth as tables to keep: `slices`, `lesions` and `detections`.

    Lesions and detections name their slice and patient too; `detections` has a column `lesion_row_iou50` (...) for
    each threshold.
    """
    first = next(iter(outcomes.values()))
    rows = {f"lesion_row_{name_of(iou)}": outcome.detections["lesion_row"] for iou, outcome in outcomes.items()}
    detections = first.detections.drop(columns="lesion_row").assign(**rows)
    slices = first.truth.slices

    def named(table: pd.DataFrame) -> pd.DataFrame:
        return table.join(slices[["slice_id", "patient_id"]], on="slice")

    return {"slices": slices, "lesions": named(first.truth.lesions), "detections": named(detections)}


def outcomes_of_tables(tables: Mapping[str, pd.DataFrame], ious: Sequence[float]) -> dict[float, Outcome]:
    """The inverse of `outcome_tables`."""
    truth = Truth(tables["slices"], tables["lesions"][list(LESION_COLUMNS)])
    bare = tables["detections"][["slice", *BOX, "confidence"]]
    return {
        iou: Outcome(truth, iou, bare.assign(lesion_row=tables["detections"][f"lesion_row_{name_of(iou)}"]))
        for iou in ious
    }
