"""Updates recorded as CUDA graphs: the host sends a graph at a time instead of some two thousand kernels.

What is recorded is the code that runs without: `run_update`. Everything that differs between two steps goes through
tensors that the recorded update reads again at every replay (`Inputs`, the fade's alpha, the weight of the detector's
loss), so it is recorded anew only where the schedule switches a part of it on or off. Random numbers are among the
inputs: drawn outside, by images shown, they are those of an update that is not recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial

import torch
from torch import Tensor

from trainers.distributed import Context
from trainers.gan.batches import Batch
from trainers.gan.checkpoint import TrainingState
from trainers.gan.feedback import DetectorFeedback
from trainers.gan.step import Inputs, course_at, inputs_of, run_update

UNRECORDED = 3
"""Updates of a kind that run as they are before one is recorded: they make Adam's state, and cuDNN's choice."""

Replay = Callable[[], Tensor]
Record = Callable[[Replay], Replay]
"""From an update to a function that repeats it, without having run it."""


def as_cuda_graph(run: Replay) -> Replay:
    """Record what a function launches on the current stream, which must not be the default one."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        result = run()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Within it the device works on a stream of its own, as recording demands; both wait for each other at the ends."""
    before, own = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    own.wait_stream(before)
    with torch.cuda.stream(own):
        yield
    before.wait_stream(own)


@dataclass(frozen=True)
class _Kind:
    """What updates have in common that launch the same kernels on the same shapes."""

    resolution: int
    fades: bool
    penalised: bool
    taught: bool
    boxes: torch.Size


class RecordedUpdate:
    """`update` of one worker, replayed where that is possible; the statistics it returns last until the next call.

    Args:
        record: what records; another function than a CUDA graph's where there is no GPU.
    """

    def __init__(
        self, state: TrainingState, feedback: DetectorFeedback | None, context: Context, record: Record = as_cuda_graph
    ) -> None:
        self._state, self._feedback, self._context, self._record = state, feedback, context, record
        self._alpha, self._teaching = torch.zeros(2, device=context.device)
        self._inputs: dict[torch.Size, Inputs] = {}
        self._runs: Counter[_Kind] = Counter()
        self._recorded: dict[_Kind, Replay] = {}

    def __call__(self, batch: Batch, share: range) -> Tensor:
        state = self._state
        inputs = self._kept(inputs_of(state, batch, share, self._context.device))
        course = course_at(state.config, state.images)
        phase = course.phase
        self._alpha.fill_(phase.alpha)
        self._teaching.fill_(course.teaching)
        read_again = replace(course, phase=replace(phase, on_device=self._alpha), teaching=self._teaching)
        run = partial(run_update, state, inputs, read_again, self._feedback, self._context)
        kind = _Kind(phase.resolution, phase.fades, course.penalised, course.taught, inputs.boxes.shape)
        self._runs[kind] += 1
        if self._runs[kind] <= UNRECORDED:
            return run()
        if kind not in self._recorded:
            for other in [other for other in self._recorded if other.resolution != kind.resolution]:
                del self._recorded[other]  # smaller images do not come back
            self._recorded[kind] = self._record(run)
        return self._recorded[kind]()

    def _kept(self, inputs: Inputs) -> Inputs:
        """The same values in memory that stays in place."""
        own = self._inputs.setdefault(inputs.boxes.shape, inputs)
        if own is not inputs:
            for field in fields(Inputs):
                getattr(own, field.name).copy_(getattr(inputs, field.name))
        return own
