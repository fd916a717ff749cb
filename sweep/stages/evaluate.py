"""Stage `evaluate`: detector -> sensitivity and false positives per slice on validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sweep.stages.cards import GPURates, Precision
from sweep.stages.detector import DetectorStage
from sweep.stages.network_stage import NetworkStage
from sweep.stages.stage import RunKind, Stage
from sweep.stages.work import SliceCounts, Work
from sweep.store import Artifact
from trainers.data.slice_set import open_slice_set
from trainers.detector.config import DetectorConfig
from trainers.distributed import Context, WorkerResources
from trainers.evaluation import metrics_file
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.metrics_file import Metrics


@dataclass(frozen=True, eq=False)
class EvaluateStage(NetworkStage):
    """Scores one detector."""

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 3
    sections: ClassVar[tuple[str, ...]] = ("evaluation",)
    run_kind: ClassVar[RunKind] = "trial"
    network: ClassVar[str | None] = "detector"
    joins: ClassVar[str | None] = "detector"
    core_flops: ClassVar[float] = 19e9
    gpu_flops: ClassVar[GPURates] = {"tf32": 76e12}  # not measured: 300 slices a second at 608 pixels
    other_s: ClassVar[float] = 4.0

    config: EvaluationConfig
    detector: DetectorStage

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {"detector": self.detector, "slices": self.detector.slices}

    @property
    def resources(self) -> WorkerResources:
        return self.detector.resources

    @property
    def label(self) -> str:
        return f"evaluate {self.detector.trained_for}"

    @classmethod
    def flops(cls, work: Work, slices: SliceCounts) -> float:
        from trainers.detector.flops import forward_flops

        detector = DetectorConfig.model_validate_json(work.network)
        return slices.scored * forward_flops(detector, detector.validation_size)

    @classmethod
    def precision(cls, work: Work) -> Precision:
        return "tf32"

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.evaluation.evaluate import evaluate

        slices = open_slice_set(inputs["slices"])
        evaluate(inputs["detector"], slices, self.config, out, context.progress, context.device)


def read_metrics(artifact: Artifact) -> Metrics:
    """The figures of an evaluate artifact."""
    name = metrics_file.METRICS_FILE
    return metrics_file.read_metrics(artifact.text(name), f"{artifact.where}/{name}")
