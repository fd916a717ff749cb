"""The contract of a stage: everything that planner, engine and tracking ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic_core import to_json

from sweep.stages.work import Assumed, SliceCounts, Work
from sweep.store.manifest import inputs_text, stage_key
from trainers.config import Config
from trainers.distributed import Context, WorkerResources

RunKind = Literal["sweep", "source", "trial"]


@dataclass(frozen=True)
class Findings:
    """What a run in MLflow shows of an artifact, beside its pictures."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Name -> value."""
    step: int = 0
    """Of all these metrics."""
    note: str | None = None
    """The run's description."""
    document: str | None = None
    """All figures, of which `metrics` are a part, as JSON."""


@dataclass(frozen=True, eq=False)
class Stage(ABC):
    """A memoised unit of work, decided by its name, version, config and inputs alone.

    Two stages with the same key make the same artifact, whoever runs them. Subclasses are frozen dataclasses without
    comparison, as stages are compared by key; where and with how many workers a stage runs is not part of the key.
    """

    name: ClassVar[str]
    """Part of the key, and the folder of such artifacts in the store."""
    version: ClassVar[int]
    """Raised whenever the stage's code changes what it makes."""
    sections: ClassVar[tuple[str, ...]]
    """Top-level keys of a study that decide the stage's key, beside those of its inputs."""
    run_kind: ClassVar[RunKind]
    """Whose run in MLflow shows the artifact: the sweep's, that of the source of synthetic slices (e.g. a GAN) which it
    is or needs, or that of the trial it is for."""
    trains: ClassVar[bool] = False
    """Whether the stage is a training loop, which every worker runs, or work for a single worker."""
    network: ClassVar[str | None] = None
    """Name of the input, and of its stage, whose network decides the cost; None if the stage's own config does."""
    joins: ClassVar[str | None] = None
    """Name of the input in whose job the stage runs if both are missing; None if the stage has its own job."""
    other_s: ClassVar[float] = 0.0
    """Assumed seconds of all that `flops` does not count: starting, reading slices, drawing figures, resampling."""

    config: Config
    key: str = field(init=False)
    """SHA-256 over what `identity` holds, hexadecimal."""

    def __post_init__(self) -> None:
        inputs = inputs_text({name: stage.key for name, stage in self.inputs.items()})
        key = stage_key(self.name, self.version, self.config.model_dump_json(), inputs, self.extra_identity())
        object.__setattr__(self, "key", key)

    @property
    @abstractmethod
    def inputs(self) -> Mapping[str, Stage]:
        """Stages whose artifacts `run` reads, by the names that `run` uses."""

    @abstractmethod
    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        """Do the work: read the inputs' folders, write the artifact's files into `out`.

        Training stages call it once per rank; the others run with one rank.
        """

    @abstractmethod
    def assumed(self, slices: SliceCounts, flops: float | None) -> Assumed:
        """How long the stage takes if the store holds no stage of its name; `flops` as counted by the method."""

    @classmethod
    def flops(cls, work: Work, slices: SliceCounts) -> float | None:
        """Floating point operations (FLOPs) of a stage with this work; None where they do not decide its time.

        Raises:
            ValidationError: the work is of an older version whose config is not allowed any more, or its network is
                missing.
        """
        return None

    @property
    def bytes_written(self) -> float:
        """What the artifact and its checkpoints occupy at most; 0 if that is negligible."""
        return 0

    @property
    def images_per_step(self) -> int:
        """Images that one unit of the stage's progress trains with; 0 if it does not train."""
        return 0

    @property
    def resources(self) -> WorkerResources:
        """What the stage occupies while it runs."""
        return WorkerResources()

    @property
    def on_ray_train(self) -> bool:
        """Whether the stage needs a Ray Train job; work for a single worker is a Ray task."""
        return self.trains and self.resources.workers > 1

    @property
    def label(self) -> str:
        """Name for people: the stage and the first digits of its key."""
        return f"{self.name} {self.key[:8]}"

    @property
    def part(self) -> str:
        """Name of the artifact's part of its run in MLflow, unique in that run."""
        return self.name

    def findings(self, artifact: Path) -> Findings:
        """What the run in MLflow shows of the artifact in a folder."""
        return Findings()

    def inputs_first(self) -> list[Stage]:
        """The stage and all that it needs, each once, every stage after its inputs."""
        stages: dict[str, Stage] = {}
        self.collect(stages)
        return list(stages.values())

    def collect(self, stages: dict[str, Stage]) -> None:
        """Add the stages of `inputs_first` to `stages`, which maps keys to stages."""
        if self.key not in stages:
            for needed in self.inputs.values():
                needed.collect(stages)
            stages[self.key] = self

    def extra_identity(self) -> dict[str, Any]:
        """What else decides the artifact, beside config and inputs."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the key is made from, JSON-able."""
        return {
            "stage": self.name,
            "version": self.version,
            "config": self.config.model_dump(mode="json"),
            "inputs": {name: stage.key for name, stage in self.inputs.items()},
            **self.extra_identity(),
        }

    @property
    def work(self) -> Work:
        """What decides the stage's cost."""
        network = self.inputs[self.network].config.model_dump(mode="json") if self.network else None
        return self.work_of(self.identity, network)

    @classmethod
    def work_of(cls, identity: Mapping[str, Any], network: Mapping[str, Any] | None) -> Work:
        """The work of a stage with this identity, which an older version may have written; `network`: the config of
        the input that the class attribute names."""
        return Work(_seedless(identity["config"]), "" if network is None else _seedless(network))


def _seedless(config: Mapping[str, Any]) -> str:
    return to_json({key: value for key, value in sorted(config.items()) if key != "seed"}).decode()
