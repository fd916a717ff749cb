"""Stage `evaluate`: detector -> sensitivity and false positives per slice on validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sweep.stages.detector import DetectorStage
from sweep.stages.once import once
from sweep.stages.stage import Inputs, Stage
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, WorkerResources
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.evaluate import evaluate


@dataclass(frozen=True, eq=False)
class EvaluateStage(Stage):
    """Scores one detector."""

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 3

    config: EvaluationConfig
    detector: DetectorStage

    @once
    def inputs(self) -> Inputs:
        return Inputs({"detector": self.detector, "slices": self.detector.slices})

    @property
    def resources(self) -> WorkerResources:
        return self.detector.resources

    @property
    def label(self) -> str:
        return self.detector.label.replace("detector", "evaluate", 1)

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        slices = open_slice_set(inputs["slices"])
        evaluate(inputs["detector"], slices, self.config, out, context.progress, context.device)
