"""Stage `realism`: synthetic slices of one GAN + real-only detector -> how real they look and whether they leak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sweep.stages.detector import DetectorStage
from sweep.stages.gan import GANStage
from sweep.stages.once import once
from sweep.stages.stage import Inputs, Stage
from sweep.stages.synthesize import SynthesizeStage
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, WorkerResources
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.realism.config import RealismConfig


@dataclass(frozen=True, eq=False)
class RealismStage(Stage):
    """Compares the first `config.slices` synthetic slices of a GAN with real ones."""

    name: ClassVar[str] = "realism"
    version: ClassVar[int] = 1

    config: RealismConfig
    evaluation: EvaluationConfig
    """Thresholds at which boxes count as found."""
    shards: tuple[SynthesizeStage, ...]
    """As many as hold `config.slices` slices."""
    detector: DetectorStage
    """Trained on real slices only."""

    @property
    def gan(self) -> GANStage:
        """Whose slices are looked at."""
        return self.shards[0].gan

    @once
    def inputs(self) -> Inputs:
        shards = {f"shard{shard.shard}": shard for shard in self.shards}
        return Inputs({"slices": self.gan.slices, "detector": self.detector} | shards)

    def extra_identity(self) -> dict[str, Any]:
        return {"evaluation": self.evaluation.model_dump(mode="json")}

    @property
    def resources(self) -> WorkerResources:
        return self.detector.resources

    @property
    def label(self) -> str:
        return f"realism {self.gan.config.variant}"

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.evaluation.realism.realism import realism

        shards = [open_slice_set(inputs[f"shard{shard.shard}"]) for shard in self.shards]
        realism(
            {self.gan.config.variant: shards},
            open_slice_set(inputs["slices"]),
            inputs["detector"],
            self.config,
            self.evaluation,
            out,
            context.progress,
            context.device,
        )
