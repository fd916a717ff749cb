"""Stage `prepare`: cohort -> slice set."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sweep.settings import cache_folder
from sweep.stages.stage import RunKind, Stage
from sweep.stages.volumes_on_ray import prepare_on_ray, within_ray
from sweep.stages.work import Assumed, SliceCounts
from sweep.text import count_text
from trainers.data.cohort import open_cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.processes import Processes
from trainers.data.strip_program import command_program
from trainers.data.volume_tasks import content_of
from trainers.distributed import Context, WorkerResources
from trainers.exceptions import ClusterError, CohortError, MetsweepError

SECONDS_PER_VOLUME = 5.2
"""Assumed for one core, as measured on the demo."""
SECONDS_PER_KEPT_VOLUME = 0.05
"""Assumed where another fold has prepared the volume."""


@dataclass(frozen=True, eq=False)
class PrepareStage(Stage):
    """Skull-strips, crops, resizes and scales every volume of a cohort."""

    name: ClassVar[str] = "prepare"
    version: ClassVar[int] = 3
    sections: ClassVar[tuple[str, ...]] = ("cohort", "folds", "prepare")
    run_kind: ClassVar[RunKind] = "sweep"

    config: PrepareConfig
    cohort: Path
    """Folder of the cohort, readable where the stage runs."""
    fingerprint: str
    """SHA-256 of the cohort's content, which decides the slices; the folder's name does not."""
    strip_program: str | None = None
    """As `command_program`."""

    @property
    def inputs(self) -> Mapping[str, Stage]:
        return {}

    @property
    def fold_text(self) -> str:
        """` fold 2`, which ends the names of all that is made of it; nothing without folds."""
        return "" if self.config.fold is None else f" fold {self.config.fold.number}"

    @property
    def label(self) -> str:
        return super().label + self.fold_text

    def extra_identity(self) -> dict[str, Any]:
        by_command = {} if self.strip_program is None else {"strip_program": self.strip_program}
        return {"cohort": self.fingerprint, **by_command}

    @property
    def resources(self) -> WorkerResources:
        return WorkerResources(cpus_per_worker=2)

    def volumes(self) -> int:
        """How many volumes the cohort has; 1 if the cohort cannot be read, e.g. on another machine."""
        try:
            return len(open_cohort(self.cohort).subjects)
        except MetsweepError:
            return 1

    def assumed(self, slices: SliceCounts, flops: float | None) -> Assumed:
        volumes = self.volumes()
        if self.config.fold is not None and self.config.fold.number > 1:
            return Assumed(volumes * SECONDS_PER_KEPT_VOLUME, "volumes that another fold prepares, assumed")
        seconds = volumes * SECONDS_PER_VOLUME / self.resources.cpus_per_worker
        each = f"{SECONDS_PER_VOLUME:g} s per volume and core"
        return Assumed(seconds, f"{count_text(volumes, 'volume')}, {each}, assumed")

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        cohort, cache = open_cohort(self.cohort), CohortCache(cache_folder())
        if content_of(cohort, self.config, cache.digest) != self.fingerprint:
            raise CohortError(f"The cohort {self.cohort} has changed since the study was planned. Launch again.")
        if (here := command_program(self.config.strip)) != self.strip_program:
            raise ClusterError(
                f"{platform.node()} would strip skulls with {here}, but the study was planned with "
                f"{self.strip_program}. Install the same version on all machines and launch again."
            )
        workers = Processes(min(self.resources.cpus_per_worker, os.cpu_count() or 1))
        prepare(cohort, self.config, out, context.progress, prepare_on_ray if within_ray() else workers, cache)
