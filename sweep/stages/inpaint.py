"""Stage `inpaint`: inpainter + training slices -> one shard of synthetic slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sweep.stages.cards import GPURates, Precision
from sweep.stages.inpainter import InpainterStage
from sweep.stages.network_stage import NetworkStage
from sweep.stages.source import ShardStage
from sweep.stages.work import SliceCounts, Work
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context
from trainers.gan.config import SynthesisConfig
from trainers.inpainting.config import InpaintConfig


@dataclass(frozen=True, eq=False)
class InpaintStage(ShardStage, NetworkStage):
    """Draws lesions into the slices of a shard."""

    name: ClassVar[str] = "inpaint"
    version: ClassVar[int] = 2
    sections: ClassVar[tuple[str, ...]] = ("synthesis",)
    network: ClassVar[str | None] = "inpainter"
    joins: ClassVar[str | None] = "inpainter"
    core_flops: ClassVar[float] = 34e9
    gpu_flops: ClassVar[GPURates] = dict.fromkeys(("fp32", "tf32", "bf16"), 14e12)  # as of drawing with a GAN
    other_s: ClassVar[float] = 5.0

    source: InpainterStage

    @classmethod
    def flops(cls, work: Work, slices: SliceCounts) -> float:
        from trainers.inpainting.flops import drawing_flops

        config = SynthesisConfig.model_validate_json(work.config)
        return config.shard_size * drawing_flops(InpaintConfig.model_validate_json(work.network))

    @classmethod
    def precision(cls, work: Work) -> Precision:
        return InpaintConfig.model_validate_json(work.network).precision

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.inpainting.drawing import inpaint

        slices = open_slice_set(inputs["slices"])
        inpaint(inputs["inpainter"], slices, self.config, self.shard, self.review, out, context)
