"""A stage whose time is that of a network."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from sweep.stages.cards import GPURates, Precision, card_here
from sweep.stages.stage import Stage
from sweep.stages.work import Assumed, SliceCounts, Work


@dataclass(frozen=True, eq=False)
class NetworkStage(Stage):
    """Trains or runs a network, whose operations decide the time."""

    core_flops: ClassVar[float]
    """Assumed FLOPs per second of one CPU core, as measured on the demo's two GANs and five detectors, two at once on
    two cores. A detector's layers are smaller."""
    gpu_flops: ClassVar[GPURates]
    """The same of one H200 for networks of full width, by precision; measured where no comment says otherwise."""
    paper_bytes: ClassVar[float] = 0
    """What a run writes at the paper's widths: a model, and two checkpoints of weights, averages and Adam's moments."""

    @classmethod
    @abstractmethod
    def flops(cls, work: Work, slices: SliceCounts) -> float: ...

    @classmethod
    @abstractmethod
    def precision(cls, work: Work) -> Precision:
        """The number format of most operations on a GPU."""

    @classmethod
    def gpu_seconds(cls, work: Work, slices: SliceCounts, rate: float, workers: int) -> float:
        """Of the network's operations at `rate` FLOPs a second, those of all workers together."""
        return cls.flops(work, slices) / rate

    def assumed(self, slices: SliceCounts, flops: float | None) -> Assumed:
        assert flops is not None
        on = self.resources
        if on.gpus_per_worker:
            card, precision = card_here(), self.precision(self.work)
            rate = self.gpu_flops[precision] * card.share(precision)
            seconds = self.gpu_seconds(self.work, slices, on.workers * on.gpus_per_worker * rate, on.workers)
            speed = f"up to {rate / 1e12:.3g} TFLOP/s in {precision} per {card.names[0]}"
        else:
            seconds = flops / (on.workers * on.cpus_per_worker * self.core_flops)
            speed = f"{self.core_flops / 1e9:g} GFLOP/s per core"
        source = f"{flops:.2g} FLOPs at {speed}, and {self.other_s:g} s for the rest, assumed"
        return Assumed(seconds + self.other_s, source)
