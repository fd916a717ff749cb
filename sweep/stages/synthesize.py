"""Stage `synthesize`: generator -> one shard of synthetic slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sweep.stages.cards import GPURates, Precision
from sweep.stages.gan import GANStage
from sweep.stages.network_stage import NetworkStage
from sweep.stages.source import ShardStage
from sweep.stages.work import SliceCounts, Work
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context
from trainers.gan.config import GANConfig, SynthesisConfig


@dataclass(frozen=True, eq=False)
class SynthesizeStage(ShardStage, NetworkStage):
    """Draws a shard with a GAN."""

    name: ClassVar[str] = "synthesize"
    version: ClassVar[int] = 2
    sections: ClassVar[tuple[str, ...]] = ("synthesis",)
    network: ClassVar[str | None] = "gan"
    joins: ClassVar[str | None] = "gan"
    core_flops: ClassVar[float] = 34e9
    gpu_flops: ClassVar[GPURates] = {
        "fp32": 14e12,
        "tf32": 44e12,
        "bf16": 44e12,
    }  # measured: fp32 alone
    other_s: ClassVar[float] = 2.0

    source: GANStage

    @property
    def gan(self) -> GANStage:
        """The GAN that draws."""
        return self.source

    @classmethod
    def flops(cls, work: Work, slices: SliceCounts) -> float:
        from trainers.gan.flops import drawing_flops

        config = SynthesisConfig.model_validate_json(work.config)
        return config.shard_size * drawing_flops(GANConfig.model_validate_json(work.network))

    @classmethod
    def precision(cls, work: Work) -> Precision:
        return GANConfig.model_validate_json(work.network).precision

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.gan.synthesis import synthesize

        slices = open_slice_set(inputs["slices"])
        synthesize(inputs["gan"], slices, self.config, self.shard, self.review, out, context)
