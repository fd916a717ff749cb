"""Stage `paste`: lesions + training slices -> one shard of synthetic slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sweep.stages.lesions import LesionsStage
from sweep.stages.source import ShardStage
from sweep.stages.work import Assumed, SliceCounts
from sweep.text import count_text
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context

SECONDS_PER_SLICE = 0.003
"""Assumed for one synthetic slice, as measured on the demo."""


@dataclass(frozen=True, eq=False)
class PasteStage(ShardStage):
    """Draws a shard without a network."""

    name: ClassVar[str] = "paste"
    version: ClassVar[int] = 2
    sections: ClassVar[tuple[str, ...]] = ("synthesis",)
    joins: ClassVar[str | None] = "lesions"

    source: LesionsStage

    def assumed(self, slices: SliceCounts, flops: float | None) -> Assumed:
        number, each = self.config.shard_size, f"{SECONDS_PER_SLICE:g} s per slice"
        return Assumed(2 + number * SECONDS_PER_SLICE, f"{count_text(number, 'slice')}, {each}, assumed")

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.pasting.lesions import read_lesions
        from trainers.pasting.paste import paste

        lesions, slices = read_lesions(inputs["lesions"]), open_slice_set(inputs["slices"])
        paste(lesions, slices, self.source.config, self.config, self.shard, self.review, out, context)
