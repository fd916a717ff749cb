"""What a report shows beyond the figures of each arm: outcomes, gains and their tests, FROC curves, chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sweep.report.results import Results
from sweep.store import Store
from trainers.data.slice_set import open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.evaluation.arms import Arm
from trainers.evaluation.comparison import Comparison, holm
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.metrics_file import Summary
from trainers.evaluation.outcome import Outcome
from trainers.variants import REAL_ONLY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLIT = "test"


class Gain(NamedTuple):
    """Of one arm over another, usually the real-only arm."""

    plain: Comparison
    """In sensitivity, at the table's confidence."""
    p: float
    """Of `plain`, adjusted by Holm for all arms that are compared at this IoU threshold."""
    equal: Comparison
    """In sensitivity at equal false positives per slice."""
    equal_p: float
    """Of `equal`, adjusted likewise."""


@dataclass(frozen=True)
class Evidence:
    """The complete arms of a study on the test split."""

    config: EvaluationConfig
    by_iou: dict[float, dict[str, Arm]]
    """IoU threshold -> arm -> its outcomes, in the study's order."""
    metrics: dict[str, list[dict[str, Summary]]]
    """Arm -> for each seed the figures by IoU name that its evaluate stage wrote (`summary.summarise`)."""
    keys: dict[str, tuple[str, ...]]
    """Arm -> keys of its evaluate stages."""
    slices: Path
    """Slice set that all arms were evaluated on."""

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms."""
        return tuple(next(iter(self.by_iou.values())))

    @property
    def seeds(self) -> int:
        """Number of seeds per arm; all arms have the same."""
        return len(next(iter(next(iter(self.by_iou.values())).values())).outcomes)

    @property
    def baseline(self) -> dict[float, Arm] | None:
        """The real-only arm by IoU threshold, if it is complete."""
        return {iou: arms[REAL_ONLY] for iou, arms in self.by_iou.items()} if REAL_ONLY in self.arms else None

    @cached_property
    def gains(self) -> dict[float, dict[str, Gain]]:
        """`gains_over` the real-only arm; no arm if that is not complete."""
        return self.gains_over(REAL_ONLY) if self.baseline else {iou: {} for iou in self.by_iou}

    def gains_over(self, base: str) -> dict[float, dict[str, Gain]]:
        """IoU threshold -> arm -> gain, of every other arm that shares a seed with the complete arm `base`."""
        return {iou: _gains(arms, base) for iou, arms in self.by_iou.items()}

    def figures(self) -> dict[str, Figure]:
        """Pictures by name, at the loosest IoU threshold."""
        from trainers.evaluation import figures

        shown = {name: list(arm.shown.values()) for name, arm in self.by_iou[min(self.by_iou)].items()}
        drawn = {
            "missed_by_diameter": figures.missed_figure(shown),
            "confidence": figures.confidence_figure(shown),
            "calibration": figures.calibration_figure(shown),
            "gained": self._gained(),
        }
        return {name: figure for name, figure in drawn.items() if figure is not None}

    def froc(self, iou: float) -> Figure:
        """FROC curves of all arms at one IoU threshold."""
        from trainers.evaluation.figures import froc_figure

        outcomes = {name: list(arm.outcomes.values()) for name, arm in self.by_iou[iou].items()}
        return froc_figure(outcomes, self.config, f"IoU {iou:g}; ")

    def _gained(self) -> Figure | None:
        """Detections of every arm that shares a seed with the real-only arm, at the first such seed."""
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


def build_evidence(results: Results, store: Store) -> Evidence | None:
    """The evidence of a study's complete arms, or None without a complete arm."""
    plan = results.plan
    complete = [row for row in results.arms if row.complete]
    if not complete:
        return None
    slices = complete[0].trials[0].evaluate.detector.slices
    prepared = store.find(slices.name, slices.key)
    if prepared is None:
        return None
    config = plan.study.evaluation
    outcomes = {row.arm: row.outcomes(SPLIT, config) for row in complete}
    return Evidence(
        config,
        by_iou={iou: {name: arms[iou] for name, arms in outcomes.items()} for iou in config.ious},
        metrics={row.arm: [result[SPLIT] for result in row.results] for row in complete},
        keys={row.arm: row.keys for row in complete},
        slices=prepared.path,
    )


def _gains(arms: Mapping[str, Arm], base: str) -> dict[str, Gain]:
    below = arms[base]
    pairs = {name: (arm.gain(below), arm.gain_at_equal_fps(below)) for name, arm in arms.items() if name != base}
    compared = {name: (plain, equal) for name, (plain, equal) in pairs.items() if plain and equal}
    plain_p, equal_p = ([*holm([pair[i].p for pair in compared.values()])] for i in range(2))
    return {
        name: Gain(plain, p, equal, at_equal)
        for (name, (plain, equal)), p, at_equal in zip(compared.items(), plain_p, equal_p, strict=True)
    }
