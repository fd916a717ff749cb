"""Stage `realism`: synthetic slices of one source + real-only detector -> how real they look and whether they leak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sweep.stages.detector import DetectorStage
from sweep.stages.source import ShardStage, SourceStage
from sweep.stages.stage import Findings, RunKind, Stage
from sweep.stages.work import Assumed, SliceCounts
from sweep.store import Artifact
from sweep.text import count_text
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, WorkerResources
from trainers.evaluation.bootstrap import Interval
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.realism.config import RealismConfig

if TYPE_CHECKING:  # pandas, which a plan does not need
    from trainers.evaluation.realism.report import SyntheticFigures

SECONDS_PER_SLICE = 0.08
"""Assumed for one synthetic slice, as measured on the demo."""


@dataclass(frozen=True, eq=False)
class RealismStage(Stage):
    """Compares the first `config.slices` synthetic slices of a source with real ones."""

    name: ClassVar[str] = "realism"
    version: ClassVar[int] = 1
    sections: ClassVar[tuple[str, ...]] = ("evaluation", "realism")
    run_kind: ClassVar[RunKind] = "source"
    network: ClassVar[str | None] = "detector"

    config: RealismConfig
    evaluation: EvaluationConfig
    """Thresholds at which a box counts as detected."""
    shards: tuple[ShardStage, ...]
    """As many shards as hold `config.slices` slices."""
    detector: DetectorStage
    """Trained on real slices only."""

    @property
    def source(self) -> SourceStage:
        """What the slices that are judged were drawn from."""
        return self.shards[0].source

    @property
    def inputs(self) -> Mapping[str, Stage]:
        shards = {f"shard{shard.shard}": shard for shard in self.shards}
        return {"slices": self.source.slices, "detector": self.detector} | shards

    def extra_identity(self) -> dict[str, Any]:
        return {"evaluation": self.evaluation.model_dump(mode="json")}

    @property
    def resources(self) -> WorkerResources:
        return self.detector.resources

    @property
    def label(self) -> str:
        return f"realism {self.source.variant}{self.source.slices.fold_text}"

    @property
    def part(self) -> str:
        """With the key: with other settings the stage is run, and logged, again."""
        return f"realism-{self.key[:8]}"

    def assumed(self, slices: SliceCounts, flops: float | None) -> Assumed:
        number, each = self.config.slices, f"{SECONDS_PER_SLICE:g} s per slice"
        return Assumed(number * SECONDS_PER_SLICE, f"{count_text(number, 'slice')}, {each}, assumed")

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from trainers.evaluation.realism.realism import realism

        shards = [open_slice_set(inputs[f"shard{shard.shard}"]) for shard in self.shards]
        slices, synthetic = open_slice_set(inputs["slices"]), {self.source.variant: shards}
        realism(
            synthetic,
            slices,
            inputs["detector"],
            self.config,
            self.evaluation,
            out,
            context.progress,
            context.device,
        )

    def findings(self, artifact: Path) -> Findings:
        from trainers.evaluation.realism.report import FILE, read_realism

        report = read_realism(artifact)
        (synthetic,) = report.synthetic.values()
        metrics: dict[str, float] = {}
        for path, figures in (("realism", asdict(synthetic)), ("realism/held_out", asdict(report.real))):
            metrics |= _numbers(path, figures.pop("features")) | _numbers(path, figures)
        note = f"Do these slices give away patients of the training split? {synthetic.memorisation.verdict.sentence}."
        return Findings(metrics, note=note, document=(artifact / FILE).read_text())


def read_slice_figures(artifact: Artifact) -> SyntheticFigures:
    """The figures of the synthetic slices that a realism artifact is about."""
    from trainers.evaluation.realism.report import FILE, realism_of

    (synthetic,) = realism_of(artifact.text(FILE), f"{artifact.where}/{FILE}").synthetic.values()
    return synthetic


def _numbers(path: str, value: Any) -> dict[str, float]:
    """The figures of nested mappings by their path, e.g. `realism/kid/mean`, an interval's as `low` and `high`."""
    if isinstance(value, Interval):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: number for key, part in value.items() for name, number in _numbers(f"{path}/{key}", part).items()}
    return {path: float(value)} if isinstance(value, int | float) else {}
