"""Stage `synthesize`: generator -> one shard of synthetic slices.

Synthetic slice i depends on (GAN, i) alone, so a synthetic count is a prefix and growing it only adds shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sweep.stages.cards import GPURates, Precision
from sweep.stages.gan import GANStage
from sweep.stages.network_stage import NetworkStage
from sweep.stages.stage import Findings, RunKind, Stage
from sweep.stages.work import SliceCounts, Work
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, WorkerResources
from trainers.gan.config import GANConfig, SynthesisConfig
from trainers.gan.review import Review, review_of
from trainers.gan.shard import read_shard


@dataclass(frozen=True, eq=False)
class SynthesizeStage(NetworkStage):
    """Draws synthetic slices `shard * shard_size` up to the next shard."""

    name: ClassVar[str] = "synthesize"
    version: ClassVar[int] = 2
    sections: ClassVar[tuple[str, ...]] = ("synthesis",)
    run_kind: ClassVar[RunKind] = "gan"
    network: ClassVar[str | None] = "gan"
    joins: ClassVar[str | None] = "gan"
    core_flops: ClassVar[float] = 34e9
    gpu_flops: ClassVar[GPURates] = dict.fromkeys(("fp32", "tf32", "bf16"), 14e12)  # measured in fp32 alone
    other_s: ClassVar[float] = 2.0

    config: SynthesisConfig
    gan: GANStage
    shard: int
    review: Review = field(init=False)
    """The decisions on this shard in the config's keep/discard list, read when the study is planned: neither decisions
    on other slices nor the list's path change the key."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "review", review_of(self.config, self.gan.config.variant, self.shard))
        super().__post_init__()

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {"gan": self.gan, "slices": self.gan.slices}

    def extra_identity(self) -> dict[str, Any]:
        reviewed = {"review": self.review.content} if self.review.attempts else {}
        return {"shard": self.shard, **reviewed}

    @property
    def resources(self) -> WorkerResources:
        return self.gan.resources

    @property
    def label(self) -> str:
        return f"synthesize {self.gan.config.variant} shard {self.shard}"

    @property
    def part(self) -> str:
        return f"synthesize-{self.shard}"

    @classmethod
    def flops(cls, work: Work, slices: SliceCounts) -> float:
        from trainers.gan.flops import drawing_flops

        config = SynthesisConfig.model_validate_json(work.config)
        return config.shard_size * drawing_flops(GANConfig.model_validate_json(work.network))

    @classmethod
    def precision(cls, work: Work) -> Precision:
        return GANConfig.model_validate_json(work.network).precision

    @property
    def bytes_written(self) -> float:
        return self.config.shard_size * self.gan.slices.config.size**2

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.gan.synthesis import synthesize

        slices = open_slice_set(inputs["slices"])
        synthesize(inputs["gan"], slices, self.config, self.shard, self.review, out, context)

    def findings(self, artifact: Path) -> Findings:
        shard = read_shard(artifact)
        metrics = {
            "gan/box_contrast": shard.box_contrast,
            "gan/box_contrast_real": shard.box_contrast_real,
            "gan/discard_rate": shard.curation.discard_rate,
            "gan/unclear": shard.curation.unclear / self.config.shard_size,
        }
        return Findings(metrics, step=self.shard)
