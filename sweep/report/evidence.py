"""What a report shows beside Table 1: intervals, gains and their tests, FROC curves, sizes, scanners, chance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.plan import Plan
from sweep.store import Artifact, Store
from trainers.data.slice_set import open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.evaluation.arms import Arm
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.evaluate import read_outcomes
from trainers.evaluation.outcome import Outcome, name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLIT = "test"
REAL_ONLY = "none"


@dataclass(frozen=True)
class Evidence:
    """The complete arms of a study on the test split."""

    config: EvaluationConfig
    by_iou: dict[float, dict[str, Arm]]
    """IoU threshold -> arm -> its outcomes, in the study's order."""
    metrics: dict[str, list[dict[str, dict[str, Any]]]]
    """Arm -> for each seed the figures by IoU name that its evaluate stage wrote (`summary.summarise`)."""
    slices: Path
    """Slice set that all arms were evaluated on."""

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms."""
        return tuple(next(iter(self.by_iou.values())))

    @property
    def baseline(self) -> dict[float, Arm] | None:
        """The real-only arm by IoU threshold, if it is complete."""
        return {iou: arms[REAL_ONLY] for iou, arms in self.by_iou.items()} if REAL_ONLY in self.arms else None

    def figures(self) -> dict[str, Figure]:
        """Pictures by name: `froc_iou50`... for each threshold, the others at the loosest."""
        from trainers.evaluation import figures

        drawn = {
            f"froc_{name_of(iou)}": figures.froc_figure(
                {name: list(arm.outcomes.values()) for name, arm in arms.items()}, self.config, f"IoU {iou:g}; "
            )
            for iou, arms in self.by_iou.items()
        }
        shown = {name: list(arm.shown.values()) for name, arm in self.by_iou[min(self.by_iou)].items()}
        drawn["confidence"] = figures.confidence_figure(shown)
        for name, figure in (
            ("calibration", figures.calibration_figure(shown)),
            ("missed_by_diameter", figures.missed_figure(shown)),
            ("gained", self._gained()),
        ):
            if figure is not None:
                drawn[name] = figure
        return drawn

    def _gained(self) -> Figure | None:
        """Detections of every arm that shares a seed with the real-only one, at the first such seed."""
        from trainers.evaluation.figures import gained_figure

        if self.baseline is None or len(self.arms) < 2:
            return None
        loosest = self.by_iou[min(self.by_iou)]
        base = loosest[REAL_ONLY]
        first: Mapping[str, Outcome] = {
            name: arm.shown[seeds[0]] for name, arm in loosest.items() if (seeds := arm.common(base))
        }
        slices = open_slice_set(self.slices)
        ordered = {REAL_ONLY: first[REAL_ONLY], **first}
        return gained_figure(slices.images, detector_rows(slices, SPLIT), ordered)


def build_evidence(plan: Plan, store: Store) -> Evidence | None:
    """The evidence of a study's complete arms, or None if there is none."""
    found: dict[str, dict[int, Artifact | None]] = {}
    for trial in plan.trials:
        found.setdefault(trial.arm, {})[trial.seed] = store.find("evaluate", trial.evaluate.key)
    complete = {
        arm: {seed: artifact for seed, artifact in seeds.items() if artifact}
        for arm, seeds in found.items()
        if all(seeds.values())
    }
    prepared = store.find("prepare", plan.trials[0].evaluate.detector.slices.key)
    if not complete or prepared is None:
        return None
    config = plan.study.evaluation
    read = {
        arm: {seed: read_outcomes(artifact.path, SPLIT, config.ious) for seed, artifact in seeds.items()}
        for arm, seeds in complete.items()
    }
    metrics = {
        arm: [json.loads((artifact.path / "metrics.json").read_text())[SPLIT] for artifact in seeds.values()]
        for arm, seeds in complete.items()
    }
    by_iou = {
        iou: {
            arm: Arm({seed: outcomes[iou] for seed, outcomes in seeds.items()}, config) for arm, seeds in read.items()
        }
        for iou in config.ious
    }
    return Evidence(config, by_iou, metrics, prepared.path)
