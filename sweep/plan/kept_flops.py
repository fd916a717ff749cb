"""FLOPs of stages, kept from plan to plan: counting them loads torch and builds networks, which takes seconds."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from sweep.stages import Stage
from sweep.stages.work import SliceCounts, Work
from sweep.store.kept import Kept
from trainers.data.cohort_cache import digest_of

VERSION = 1
"""Raised when operations are counted in another way."""


class KeptFlops:
    """FLOPs by what decides them, in a folder that may be missing, damaged or read-only."""

    def __init__(self, folder: Path) -> None:
        self._kept = Kept(folder)
        self._counted_by = [VERSION, *map(version, ("metsweep", "torch", "ultralytics"))]

    def of(self, stage: Stage, work: Work, slices: SliceCounts) -> float | None:
        """As `stage.flops`, which is asked once."""
        key = digest_of([*self._counted_by, stage.name, asdict(work), slices.all])
        kept = self._kept.get(key)
        if kept is not None:
            return float(kept)
        flops = stage.flops(work, slices)
        if flops is not None:
            self._kept.put(key, repr(flops).encode())
        return flops
