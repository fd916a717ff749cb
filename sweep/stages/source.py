"""What every source of synthetic slices is asked, and every shard of them: the stages of `Stage.run_kind` `source`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sweep.stages.prepare import PrepareStage
from sweep.stages.stage import Findings, RunKind, Stage
from trainers.distributed import WorkerResources
from trainers.gan.config import SynthesisConfig
from trainers.gan.review import Review, review_of
from trainers.gan.shard import read_shard
from trainers.variants import SyntheticVariant


@dataclass(frozen=True, eq=False)
class SourceStage(Stage):
    """Makes what synthetic slices are drawn from: a trained network, or lesions that are pasted."""

    run_kind: ClassVar[RunKind] = "source"

    slices: PrepareStage

    @property
    @abstractmethod
    def variant(self) -> SyntheticVariant:
        """Of the arms whose slices are drawn from it."""

    @property
    def label(self) -> str:
        return f"{self.name} {self.variant}{self.slices.fold_text}"


@dataclass(frozen=True, eq=False)
class ShardStage(Stage):
    """Draws the synthetic slices `shard * shard_size` up to the next shard.

    Synthetic slice i depends on (source, i) alone, so a synthetic count is a prefix and growing it only adds shards.
    """

    run_kind: ClassVar[RunKind] = "source"

    config: SynthesisConfig
    source: SourceStage
    """What the slices are drawn from."""
    shard: int
    review: Review = field(init=False)
    """The decisions on this shard in the config's keep/discard list, read when the study is planned: neither decisions
    on other slices nor the list's path change the key."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "review", review_of(self.config, self.source.variant, self.shard))
        super().__post_init__()

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {self.source.name: self.source, "slices": self.source.slices}

    def extra_identity(self) -> dict[str, Any]:
        reviewed = {"review": self.review.content} if self.review.attempts else {}
        return {"shard": self.shard, **reviewed}

    @property
    def resources(self) -> WorkerResources:
        return self.source.resources

    @property
    def label(self) -> str:
        return f"{self.name} {self.source.variant}{self.source.slices.fold_text} shard {self.shard}"

    @property
    def part(self) -> str:
        return f"{self.name}-{self.shard}"

    @property
    def bytes_written(self) -> float:
        return self.config.shard_size * self.source.slices.config.size**2

    def findings(self, artifact: Path) -> Findings:
        shard = read_shard(artifact)
        figures = {
            "box_contrast": shard.box_contrast,
            "box_contrast_real": shard.box_contrast_real,
            "discard_rate": shard.curation.discard_rate,
            "unclear": shard.curation.unclear / self.config.shard_size,
        }
        return Findings({f"{self.source.name}/{name}": value for name, value in figures.items()}, step=self.shard)
