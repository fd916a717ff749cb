"""Stage `inpainter`: slice set -> a diffusion model that draws lesions into windows of its training slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sweep.stages.cards import GPURates, Precision
from sweep.stages.lesions import findings_of_lesions
from sweep.stages.network_stage import NetworkStage
from sweep.stages.source import SourceStage
from sweep.stages.stage import Findings, Stage
from sweep.stages.work import SliceCounts, Work
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, WorkerResources
from trainers.inpainting.config import InpaintConfig
from trainers.variants import InpaintedVariant


@dataclass(frozen=True, eq=False)
class InpainterStage(SourceStage, NetworkStage):
    """Trains one inpainter on windows around the lesions of the training split."""

    name: ClassVar[str] = "inpainter"
    version: ClassVar[int] = 1
    sections: ClassVar[tuple[str, ...]] = ("arms", "count_scale", "variants", "inpaint")
    trains: ClassVar[bool] = True
    core_flops: ClassVar[float] = 34e9
    gpu_flops: ClassVar[GPURates] = dict.fromkeys(("fp32", "tf32", "bf16"), 14e12)  # as of drawing with a GAN
    other_s: ClassVar[float] = 8.0
    paper_bytes: ClassVar[float] = 5e8

    config: InpaintConfig
    workers: WorkerResources

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {"slices": self.slices}

    @property
    def images_per_step(self) -> int:
        return 1  # its progress counts windows

    @property
    def resources(self) -> WorkerResources:
        return self.workers

    @property
    def variant(self) -> InpaintedVariant:
        return self.config.variant

    @classmethod
    def flops(cls, work: Work, slices: SliceCounts) -> float:
        from trainers.inpainting.flops import training_flops

        return training_flops(InpaintConfig.model_validate_json(work.config))

    @classmethod
    def precision(cls, work: Work) -> Precision:
        return InpaintConfig.model_validate_json(work.config).precision

    @property
    def bytes_written(self) -> float:
        return self.paper_bytes * (max(self.config.widths) / 256) ** 2

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.inpainting.training import train_inpainter

        train_inpainter(self.config, open_slice_set(inputs["slices"]), out, context)

    def findings(self, artifact: Path) -> Findings:
        return findings_of_lesions(artifact)
