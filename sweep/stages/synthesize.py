"""Stage `synthesize`: generator -> one shard of synthetic slices.

Synthetic slice i depends on (GAN, i) alone, so a synthetic count is a prefix and growing it only adds shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sweep.stages.gan import GANStage
from sweep.stages.stage import Stage
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, WorkerResources
from trainers.gan.synthesis import SynthesisConfig, synthesize


@dataclass(frozen=True)
class SynthesizeStage(Stage):
    """Draws synthetic slices `shard * shard_size` up to the next shard."""

    name: ClassVar[str] = "synthesize"
    version: ClassVar[int] = 1

    config: SynthesisConfig
    gan: GANStage
    shard: int

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {"gan": self.gan, "slices": self.gan.slices}

    def extra_identity(self) -> dict[str, Any]:
        return {"shard": self.shard}

    @property
    def resources(self) -> WorkerResources:
        return self.gan.resources

    @property
    def label(self) -> str:
        return f"synthesize {self.gan.config.variant} shard {self.shard}"

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        synthesize(inputs["gan"], open_slice_set(inputs["slices"]), self.config, self.shard, out, context.progress)
