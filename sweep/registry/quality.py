"""The quality of a detector on the validation split of its study, for whoever reads its boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweep.report.section import estimate_text
from sweep.stages import EvaluateStage
from sweep.store import Manifest, Store
from sweep.text import count_text
from sweep.tracking.tags import IOU, QUALITY, read_tag
from trainers.evaluation.arms import Arm, Estimate
from trainers.evaluation.bootstrap import Interval
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.outcome_files import read_outcomes
from trainers.exceptions import TrackingError


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One detector on validation, at IoU 0.5."""

    sensitivity: float
    low: float | None
    """Bounds of the 95 % interval over patients; None if unknown."""
    high: float | None
    fps_per_slice: float
    hitting: float | None
    """Share of its boxes that hit a lesion; None without boxes."""
    patients: int
    """Those with lesions."""
    confidence: float
    """Boxes below it are not counted."""

    @staticmethod
    def measured(arm: Arm, confidence: float) -> Quality:
        """Of an arm of one seed."""
        (shown,) = arm.shown.values()
        low, high = (None if math.isnan(bound) else bound for bound in arm.sensitivity.interval)
        return Quality(
            sensitivity=arm.sensitivity.mean,
            low=low,
            high=high,
            fps_per_slice=arm.fps_per_slice.mean,
            hitting=float(shown.hit.mean()) if len(shown.hit) else None,
            patients=arm.patients_with_lesions,
            confidence=confidence,
        )

    def sentence(self, shown: float) -> str:
        """One line; a detector is poor if it misses most lesions, or most of its boxes are wrong.

        Args:
            shown: the confidence from which boxes are shown, which the sentence mentions if it differs.
        """
        interval = Interval(math.nan if self.low is None else self.low, math.nan if self.high is None else self.high)
        sensitivity = estimate_text(Estimate(self.sensitivity, interval))
        over = f"{count_text(self.patients, 'patient')} with lesions"
        basis = "interval unknown" if self.low is None else f"95% interval over {over}"
        faults = ["misses most lesions"] if self.sensitivity < 0.5 else []
        faults += ["most of its boxes hit none"] if self.hitting is not None and self.hitting < 0.5 else []
        boxes = "no box" if self.hitting is None else f"{self.hitting:.0%} of its boxes hit a lesion"
        poor = f" A poor detector: {' and '.join(faults)}." if faults else ""
        fewer = "fewer" if shown > self.confidence else "more"
        other = f" Boxes shown are from confidence {shown:g}: {fewer} lesions found, {fewer} false positives."
        return (
            f"On validation, IoU {IOU:g}, confidence {self.confidence:g}: sensitivity {sensitivity} ({basis}), "
            f"{self.fps_per_slice:.2f} false positives per slice, {boxes}.{poor}"
            + (other if shown != self.confidence else "")
        )


def quality_in_tags(tags: Mapping[str, str]) -> Quality | None:
    """The quality in a version's tags; None if the tag is missing, as in older versions, or not ours."""
    try:
        return read_tag(tags, QUALITY, Quality)
    except (KeyError, TrackingError):
        return None


def quality_of_folder(detector_dir: Path, confidence: float) -> Quality | None:
    """The quality of a detector in a store, by its newest evaluation there; None outside a store or if unevaluated.

    Args:
        detector_dir: its folder.
        confidence: boxes below it are not counted; at least the lowest confidence that the evaluation kept.
    """
    made = Manifest.beside(detector_dir)
    if made is None:
        return None
    evaluations = Store(detector_dir.absolute().parent.parent).artifacts(EvaluateStage.name)
    own = [artifact for artifact in evaluations if made.key in artifact.manifest.inputs]
    for artifact in reversed(own):
        config = EvaluationConfig.model_validate(artifact.manifest.identity["config"])
        if IOU in config.ious:
            outcome = read_outcomes(artifact.path, "validation", (IOU,))[IOU]
            counted = config.model_copy(update={"confidence": max(confidence, config.froc_confidence)})
            return Quality.measured(Arm({0: outcome}, counted), counted.confidence)
    return None
