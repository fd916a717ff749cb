"""A stage whose time is that of a network."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from sweep.stages.stage import Stage
from sweep.stages.work import Assumed, SliceCounts, Work

GPU_FLOPS = 10e12
"""Assumed FLOPs per second of one GPU."""


@dataclass(frozen=True, eq=False)
class NetworkStage(Stage):
    """Trains or runs a network, whose operations decide the time."""

    core_flops: ClassVar[float]
    """Assumed FLOPs per second of one CPU core, as measured on the demo's two GANs and five detectors, two at once on
    two cores. A detector's layers are smaller."""
    paper_bytes: ClassVar[float] = 0
    """What a run writes at the paper's widths: a model, and two checkpoints of weights, averages and Adam's moments."""

    @classmethod
    @abstractmethod
    def flops(cls, work: Work, slices: SliceCounts) -> float: ...

    def assumed(self, slices: SliceCounts) -> Assumed:
        flops, on = self.flops(self.work, slices), self.resources
        if on.gpus_per_worker:
            rate, speed = on.gpus_per_worker * GPU_FLOPS, f"{GPU_FLOPS / 1e12:g} TFLOP/s per GPU"
        else:
            rate, speed = on.cpus_per_worker * self.core_flops, f"{self.core_flops / 1e9:g} GFLOP/s per core"
        source = f"{flops:.2g} FLOPs at {speed}, and {self.other_s:g} s for the rest, assumed"
        return Assumed(flops / (on.workers * rate) + self.other_s, source)
