"""Stage `gan`: slice set -> trained generator; `cpggan+detector` learns from a detector too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sweep.stages.cards import GPURates, Precision
from sweep.stages.network_stage import NetworkStage
from sweep.stages.source import SourceStage
from sweep.stages.stage import Stage
from sweep.stages.work import SliceCounts, Work
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, WorkerResources
from trainers.gan.config import GANConfig
from trainers.variants import GANVariant

LAUNCHING_S = 0.0028
"""Seconds in which the host launches one convolution's part of an update: 77 ms for the 28 of CPGGAN at 256 pixels. A
GPU is no faster than that, however small the images."""
REPLAYING_S = 0.0005
"""The same of an update that is recorded (`cuda_graph`): 7 us for each of its 69 kernels. Not measured; with it the
targets of `make bench-gpu` are met within a factor of two."""


@dataclass(frozen=True, eq=False)
class GANStage(SourceStage, NetworkStage):
    """Trains one GAN on the training split."""

    name: ClassVar[str] = "gan"
    version: ClassVar[int] = 2
    sections: ClassVar[tuple[str, ...]] = ("arms", "seeds", "count_scale", "gan", "variants")
    trains: ClassVar[bool] = True
    core_flops: ClassVar[float] = 34e9
    gpu_flops: ClassVar[GPURates] = {"fp32": 18e12, "tf32": 131e12, "bf16": 273e12}
    other_s: ClassVar[float] = 6.0
    paper_bytes: ClassVar[float] = 1e9

    config: GANConfig
    workers: WorkerResources
    detector: Stage | None = None
    """`cpggan+detector`: the detector of real slices that scores the synthetic ones; None for the other variants."""

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {"slices": self.slices} | ({"detector": self.detector} if self.detector else {})

    def extra_identity(self) -> dict[str, Any]:
        return {"feedback": 2} if self.detector else {}  # raised with what the detector's loss computes

    @property
    def images_per_step(self) -> int:
        return 1  # its progress counts images

    @property
    def resources(self) -> WorkerResources:
        return self.workers

    @property
    def variant(self) -> GANVariant:
        return self.config.variant

    @classmethod
    def flops(cls, work: Work, slices: SliceCounts) -> float:
        from trainers.gan.flops import training_flops

        return training_flops(GANConfig.model_validate_json(work.config))

    @classmethod
    def precision(cls, work: Work) -> Precision:
        return GANConfig.model_validate_json(work.config).precision

    @classmethod
    def gpu_seconds(cls, work: Work, slices: SliceCounts, rate: float, workers: int) -> float:
        from trainers.gan.flops import updates_of_run

        config = GANConfig.model_validate_json(work.config)
        each_layer = REPLAYING_S if config.cuda_graph and workers == 1 else LAUNCHING_S
        return sum(
            updates.number * max(updates.flops / rate, updates.layers * each_layer)
            for updates in updates_of_run(config)
        )

    @property
    def bytes_written(self) -> float:
        return self.paper_bytes * (self.config.width * max(self.config.widths) / 512) ** 2

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.gan.training import train_gan

        train_gan(self.config, open_slice_set(inputs["slices"]), out, context, inputs.get("detector"))
