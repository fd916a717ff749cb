"""How good a detector is on the validation split of its study: what whoever reads its boxes must know."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sweep.report.section import estimate_text
from sweep.store import Manifest, Store
from sweep.tracking.tags import QUALITY, read_tag
from trainers.evaluation.arms import Arm, Estimate
from trainers.evaluation.bootstrap import Interval
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.evaluate import read_outcomes
from trainers.exceptions import TrackingError

IOU = 0.5


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One detector on validation, at IoU 0.5."""

    sensitivity: float
    low: float | None
    """Bounds of the 95 % interval over patients; None where it is not known."""
    high: float | None
    fps_per_slice: float
    hitting: float | None
    """Share of its boxes that hit a lesion; None if it has none."""
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

    def json(self) -> str:
        """For a tag."""
        return json.dumps(asdict(self))

    def sentence(self, shown: float) -> str:
        """One line; poor is what misses most lesions, or whose boxes are mostly wrong.

        Args:
            shown: the confidence that boxes beside it are shown from, which it tells if it is another.
        """
        interval = Interval(math.nan if self.low is None else self.low, math.nan if self.high is None else self.high)
        found = estimate_text(Estimate(self.sensitivity, interval))
        over = f"{self.patients} patient{'' if self.patients == 1 else 's'} with lesions"
        known = "interval not known" if self.low is None else f"95% interval over {over}"
        faults = ["misses most lesions"] if self.sensitivity < 0.5 else []
        faults += ["most of its boxes hit none"] if self.hitting is not None and self.hitting < 0.5 else []
        boxes = "no box" if self.hitting is None else f"{self.hitting:.0%} of its boxes hit a lesion"
        poor = f" A poor detector: {' and '.join(faults)}." if faults else ""
        fewer = "fewer" if shown > self.confidence else "more"
        other = f" Boxes shown are from confidence {shown:g}: {fewer} lesions found, {fewer} false positives."
        return (
            f"On validation, IoU {IOU:g}, confidence {self.confidence:g}: sensitivity {found} ({known}), "
            f"{self.fps_per_slice:.2f} false positives per slice, {boxes}.{poor}"
            + (other if shown != self.confidence else "")
        )


def quality_in_tags(tags: Mapping[str, str]) -> Quality | None:
    """What a version's tags say; None of one that was registered before they said it, or whose tag is not ours."""
    try:
        return read_tag(tags, QUALITY, Quality)
    except (KeyError, TrackingError):
        return None


def quality_of_folder(detector_dir: Path, confidence: float) -> Quality | None:
    """Of a detector in a store, from the newest evaluation of it there; None elsewhere, and of one that has none.

    Args:
        detector_dir: its folder.
        confidence: boxes below it are not counted; lower than the evaluation kept boxes, its lowest is taken.
    """
    made = Manifest.beside(detector_dir)
    if made is None:
        return None
    evaluations = Store(detector_dir.absolute().parent.parent).artifacts("evaluate")
    found = [one for one in evaluations if made.key in one.manifest.inputs]
    for artifact in reversed(found):
        config = EvaluationConfig.model_validate(artifact.manifest.identity["config"])
        if IOU in config.ious:
            outcome = read_outcomes(artifact.path, "validation", (IOU,))[IOU]
            counted = config.model_copy(update={"confidence": max(confidence, config.froc_confidence)})
            return Quality.measured(Arm({0: outcome}, counted), counted.confidence)
    return None
