"""Stage `prepare`: cohort -> slice set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sweep.stages.once import once
from sweep.stages.stage import Inputs, Stage
from trainers.data.cohort import open_cohort
from trainers.data.prepare import PrepareConfig, prepare
from trainers.distributed import Context, WorkerResources
from trainers.exceptions import CohortError


@dataclass(frozen=True, eq=False)
class PrepareStage(Stage):
    """Skull-strips, crops, resizes and scales every volume of a cohort."""

    name: ClassVar[str] = "prepare"
    version: ClassVar[int] = 2

    config: PrepareConfig
    cohort: Path
    """Folder of the cohort, readable where the stage runs."""
    fingerprint: str
    """SHA-256 of the cohort's content: the folder's name does not decide the slices, its content does."""

    @once
    def inputs(self) -> Inputs:
        return Inputs({})

    def extra_identity(self) -> dict[str, Any]:
        return {"cohort": self.fingerprint}

    @property
    def resources(self) -> WorkerResources:
        return WorkerResources(cpus_per_worker=2)

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        cohort = open_cohort(self.cohort)
        if cohort.fingerprint() != self.fingerprint:
            raise CohortError(f"The cohort {self.cohort} has changed since the study was planned; launch again.")
        prepare(
            cohort,
            self.config,
            out,
            context.progress,
            workers=min(self.resources.cpus_per_worker, os.cpu_count() or 1),
        )
