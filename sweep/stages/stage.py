"""The contract of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sweep.stages.once import Steady, once
from sweep.store.manifest import inputs_text, stage_key
from trainers.config import Config
from trainers.distributed import Context, WorkerResources


class Inputs(Steady, dict[str, "Stage"]):
    """The stages that another reads, by name; where many stages read the same, they share one object."""

    @once
    def digest(self) -> str:
        """Names and keys as text."""
        return inputs_text({name: stage.key for name, stage in self.items()})

    @once
    def ancestry(self) -> Mapping[str, Stage]:
        """Stage key -> all of them and what they need in turn, every stage after what it reads."""
        found: dict[str, Stage] = {}
        for stage in self.values():
            found |= {one.key: one for one in stage.inputs_first() if one.key not in found}
        return found


@dataclass(frozen=True, eq=False)
class Stage(Steady, ABC):
    """A memoised unit of work, decided by its name, version, config and inputs alone.

    Two stages with the same key make the same artifact, whoever runs them. Subclasses are frozen dataclasses without
    comparison, for stages are compared by key; where and with how many workers a stage runs is not part of it.
    """

    name: ClassVar[str]
    """One of the words of the design: prepare, gan, synthesize, detector, evaluate, realism."""
    version: ClassVar[int]
    """Raised whenever the stage's code changes what it makes."""
    trains: ClassVar[bool] = False
    """Whether it is a training loop, which every worker runs, or work for one."""

    config: Config

    @property
    @abstractmethod
    def inputs(self) -> Inputs:
        """Stages whose artifacts `run` reads, by the name it reads them under."""

    @abstractmethod
    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        """Do the work: read the inputs' folders, write the artifact's files into `out`.

        Training stages call it once a rank; the others run with one rank.
        """

    @property
    def resources(self) -> WorkerResources:
        """What the stage occupies while it runs."""
        return WorkerResources()

    @property
    def on_ray_train(self) -> bool:
        """Whether it needs a Ray Train job; what one worker does is a Ray task."""
        return self.trains and self.resources.workers > 1

    def inputs_first(self) -> list[Stage]:
        """Its inputs, their inputs and itself, each once, every stage after what it reads."""
        return [*self.inputs.ancestry.values(), self]

    def extra_identity(self) -> dict[str, Any]:
        """What else decides the artifact, beside config and inputs."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """Everything the key is made from, JSON-able."""
        return {
            "stage": self.name,
            "version": self.version,
            "config": self.config.model_dump(mode="json"),
            "inputs": {name: stage.key for name, stage in self.inputs.items()},
            **self.extra_identity(),
        }

    @once
    def key(self) -> str:
        """SHA-256 over what `identity` holds, hexadecimal."""
        return stage_key(self.name, self.version, canonical(self.config), self.inputs.digest, self.extra_identity())

    @property
    def label(self) -> str:
        """What a person reads: the stage and the first digits of its key."""
        return f"{self.name} {self.key[:8]}"


def canonical(config: Config) -> str:
    """Every value of a config as JSON, in the order of its fields.

    Made once for each object: large plans hold few configs in many stages.
    """
    known = _texts.get(id(config))
    if known is None:
        if len(_texts) >= MOST_TEXTS:
            _texts.clear()
        known = _texts[id(config)] = (config, config.model_dump_json())
    return known[1]


MOST_TEXTS = 2**15
_texts: dict[int, tuple[Config, str]] = {}
"""By the config as an object, which must live as long as its text: comparing values would cost more than it saves."""
