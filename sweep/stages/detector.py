"""Stage `detector`: real slices + the first N synthetic slices -> trained detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from sweep.stages.cards import GPURates, Precision
from sweep.stages.network_stage import NetworkStage
from sweep.stages.prepare import PrepareStage
from sweep.stages.source import ShardStage
from sweep.stages.stage import RunKind, Stage
from sweep.stages.work import SliceCounts, Work
from trainers.data.slice_set import open_slice_set
from trainers.detector.architecture import PAPER
from trainers.detector.config import DetectorConfig
from trainers.distributed import Context, WorkerResources
from trainers.variants import REAL_ONLY

BYTES_PER_PARAMETER = 9 * 4
"""A model, and two checkpoints of weights, averages and Adam's moments."""


@dataclass(frozen=True, eq=False)
class DetectorStage(NetworkStage):
    """Trains one detector and picks its checkpoint on the validation split."""

    name: ClassVar[str] = "detector"
    version: ClassVar[int] = 3
    sections: ClassVar[tuple[str, ...]] = ("arms", "seeds", "count_scale", "detector")
    run_kind: ClassVar[RunKind] = "trial"
    trains: ClassVar[bool] = True
    core_flops: ClassVar[float] = 19e9
    gpu_flops: ClassVar[GPURates] = {"tf32": 107e12, "bf16": 215e12}  # tf32: not measured, by data sheets half of bf16
    other_s: ClassVar[float] = 8.0
    paper_bytes: ClassVar[float] = 4e9

    config: DetectorConfig
    slices: PrepareStage
    shards: tuple[ShardStage, ...]
    count: int
    workers: WorkerResources
    arm: str = REAL_ONLY
    """Name of its arm, for people: what it means for the detector is in the other fields."""

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {"slices": self.slices} | {f"shard{shard.shard}": shard for shard in self.shards}

    def extra_identity(self) -> dict[str, Any]:
        return {"count": self.count}

    @property
    def images_per_step(self) -> int:
        return self.config.batch

    @property
    def resources(self) -> WorkerResources:
        return self.workers

    @property
    def trained_for(self) -> str:
        """Its arm, seed and fold."""
        return f"{self.arm} seed {self.config.seed}{self.slices.fold_text}"

    @property
    def label(self) -> str:
        return f"detector {self.trained_for}"

    @classmethod
    def work_of(cls, identity: Mapping[str, Any], network: Mapping[str, Any] | None) -> Work:
        by_epochs = identity["config"].get("epochs") is not None
        return replace(super().work_of(identity, network), count=identity["count"] if by_epochs else 0)

    @classmethod
    def flops(cls, work: Work, slices: SliceCounts) -> float:
        from trainers.detector.flops import training_flops

        config = DetectorConfig.model_validate_json(work.config)
        return training_flops(config, slices.train, slices.validation, work.count)

    @classmethod
    def precision(cls, work: Work) -> Precision:
        return "bf16" if DetectorConfig.model_validate_json(work.config).amp else "tf32"  # torch's default

    @property
    def bytes_written(self) -> float:
        if self.config.model == PAPER:
            return self.paper_bytes * self.config.width**2
        from trainers.detector.flops import parameters

        return BYTES_PER_PARAMETER * parameters(self.config)

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.detector.training import train_detector

        shards = [open_slice_set(inputs[f"shard{shard.shard}"]) for shard in self.shards]
        train_detector(self.config, open_slice_set(inputs["slices"]), shards, self.count, out, context)
