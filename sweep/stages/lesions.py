"""Stage `lesions`: slice set -> the lesions of its training slices, cut from their surroundings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sweep.stages.source import SourceStage
from sweep.stages.stage import Findings, Stage
from sweep.stages.work import Assumed, SliceCounts
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context
from trainers.pasting.config import PasteConfig
from trainers.variants import PastedVariant

SECONDS_PER_SLICE = 0.002
"""Assumed, as measured on the demo."""


@dataclass(frozen=True, eq=False)
class LesionsStage(SourceStage):
    """Collects the lesions that are pasted, or whose places and sizes a placebo takes."""

    name: ClassVar[str] = "lesions"
    version: ClassVar[int] = 1
    sections: ClassVar[tuple[str, ...]] = ("arms", "count_scale", "paste")

    config: PasteConfig

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {"slices": self.slices}

    @property
    def variant(self) -> PastedVariant:
        return self.config.variant

    def assumed(self, slices: SliceCounts, flops: float | None) -> Assumed:
        return Assumed(2 + slices.train * SECONDS_PER_SLICE, f"{SECONDS_PER_SLICE:g} s per training slice, assumed")

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.pasting.lesions import cut_lesions

        cut_lesions(open_slice_set(inputs["slices"]), out)

    def findings(self, artifact: Path) -> Findings:
        return findings_of_lesions(artifact)


def findings_of_lesions(artifact: Path) -> Findings:
    """How many lesions a source has cut from training slices."""
    from trainers.pasting.lesions import read_counts

    counts = read_counts(artifact)
    return Findings({"lesions/cut": counts.cut, "lesions/left_out": counts.left_out})
