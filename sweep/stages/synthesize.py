"""Stage `synthesize`: generator -> one shard of synthetic slices.

Synthetic slice i depends on (GAN, i) alone, so a synthetic count is a prefix and growing it only adds shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sweep.stages.gan import GANStage
from sweep.stages.once import once
from sweep.stages.stage import Inputs, Stage
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, WorkerResources
from trainers.gan.config import SynthesisConfig
from trainers.gan.review import Review, review_of


@dataclass(frozen=True, eq=False)
class SynthesizeStage(Stage):
    """Draws synthetic slices `shard * shard_size` up to the next shard."""

    name: ClassVar[str] = "synthesize"
    version: ClassVar[int] = 2

    config: SynthesisConfig
    gan: GANStage
    shard: int
    review: Review = field(init=False)
    """What the config's keep/discard list says of this shard, read when the study is planned: a list on other slices,
    or the same one under another name, does not change the key."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "review", review_of(self.config, self.gan.config.variant, self.shard))

    @once
    def inputs(self) -> Inputs:
        return Inputs({"gan": self.gan, "slices": self.gan.slices})

    def extra_identity(self) -> dict[str, Any]:
        reviewed = {"review": self.review.content} if self.review.attempts else {}
        return {"shard": self.shard, **reviewed}

    @property
    def resources(self) -> WorkerResources:
        return self.gan.resources

    @property
    def label(self) -> str:
        return f"synthesize {self.gan.config.variant} shard {self.shard}"

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.gan.synthesis import synthesize

        slices = open_slice_set(inputs["slices"])
        synthesize(inputs["gan"], slices, self.config, self.shard, self.review, out, context)
