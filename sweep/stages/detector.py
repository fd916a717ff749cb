"""Stage `detector`: real slices + the first N synthetic slices -> trained detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from sweep.stages.once import once
from sweep.stages.prepare import PrepareStage
from sweep.stages.stage import Inputs, Stage
from sweep.stages.synthesize import SynthesizeStage
from trainers.data.slice_set import open_slice_set
from trainers.detector.config import DetectorConfig
from trainers.detector.training import train_detector
from trainers.distributed import Context, WorkerResources


@dataclass(frozen=True, eq=False)
class DetectorStage(Stage):
    """Trains one detector and picks its checkpoint on the validation split."""

    name: ClassVar[str] = "detector"
    version: ClassVar[int] = 3
    trains: ClassVar[bool] = True

    config: DetectorConfig
    slices: PrepareStage
    shards: tuple[SynthesizeStage, ...]
    count: int
    workers: WorkerResources = field(default_factory=WorkerResources)

    @once
    def inputs(self) -> Inputs:
        return _inputs(self.slices, self.shards)

    def extra_identity(self) -> dict[str, Any]:
        return {"count": self.count}

    @property
    def resources(self) -> WorkerResources:
        return self.workers

    @property
    def label(self) -> str:
        arm = f"{self.shards[0].gan.config.variant} {self.count}" if self.shards else "none"
        return f"detector {arm} seed {self.config.seed}"

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        shards = [open_slice_set(inputs[f"shard{shard.shard}"]) for shard in self.shards]
        train_detector(self.config, open_slice_set(inputs["slices"]), shards, self.count, out, context)


@lru_cache(maxsize=1024)
def _inputs(slices: PrepareStage, shards: tuple[SynthesizeStage, ...]) -> Inputs:
    """One object for all detectors of an arm."""
    return Inputs({"slices": slices} | {f"shard{shard.shard}": shard for shard in shards})
