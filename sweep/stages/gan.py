"""Stage `gan`: slice set -> trained generator; `cpggan+detector` learns from a detector too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sweep.stages.once import once
from sweep.stages.prepare import PrepareStage
from sweep.stages.stage import Inputs, Stage
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, WorkerResources
from trainers.gan.config import GANConfig

if TYPE_CHECKING:
    from sweep.stages.detector import DetectorStage


@dataclass(frozen=True, eq=False)
class GANStage(Stage):
    """Trains one GAN on the training split."""

    name: ClassVar[str] = "gan"
    version: ClassVar[int] = 2
    trains: ClassVar[bool] = True

    config: GANConfig
    slices: PrepareStage
    workers: WorkerResources = field(default_factory=WorkerResources)
    detector: DetectorStage | None = None
    """`cpggan+detector`: the detector of real slices that scores the synthetic ones; None for the other variants."""

    @once
    def inputs(self) -> Inputs:
        return Inputs({"slices": self.slices} | ({"detector": self.detector} if self.detector else {}))

    @property
    def resources(self) -> WorkerResources:
        return self.workers

    @property
    def label(self) -> str:
        return f"gan {self.config.variant}"

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.gan.training import train_gan

        train_gan(self.config, open_slice_set(inputs["slices"]), out, context, inputs.get("detector"))
