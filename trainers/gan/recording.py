"""Updates recorded as CUDA graphs: the host sends a graph at a time instead of some two thousand kernels.

What is recorded is the code that runs without: `run_update`. Everything that differs between two steps goes through
tensors that the recorded update reads again at every replay (`Inputs`, the fade's alpha, the weight of the detector's
loss), so it is recorded anew only where the schedule switches a part of it on or off. Random numbers are among the
inputs: drawn outside, by images shown, they are those of an update that is not recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

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


def cuda_graphs() -> Record:
    """What records as CUDA graphs that share memory, as none starts before the result of another was read.

    The current stream must not be the default one, and be the same each time.
    """
    pool = torch.cuda.graph_pool_handle()

    def record(run: Replay) -> Replay:
        graph = torch.cuda.CUDAGraph()
        # Other threads of the process may allocate meanwhile, as those of Ray and of the checkpoints do.
        with torch.cuda.graph(graph, pool, torch.cuda.current_stream(), capture_error_mode="thread_local"):
            result = run()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    return record


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

    It works on a stream of its own, as recording demands; what its caller launches before and after waits in line.

    Args:
        recorder: makes what records, anew in each phase; another than that of CUDA graphs where there is no GPU.
    """

    def __init__(
        self,
        state: TrainingState,
        feedback: DetectorFeedback | None,
        context: Context,
        recorder: Callable[[], Record] = cuda_graphs,
    ) -> None:
        self._state, self._feedback, self._context, self._recorder = state, feedback, context, recorder
        self._alpha, self._teaching = torch.zeros(2, device=context.device)
        self._inputs: dict[torch.Size, Inputs] = {}
        self._runs: Counter[_Kind] = Counter()
        self._phase: tuple[int, bool] | None = None
        self._recorded: dict[_Kind, Replay] = {}
        self._streams: Any = torch.get_device_module(context.device)
        self._own = self._streams.Stream(context.device)

    def __call__(self, batch: Batch, share: range) -> Tensor:
        before = self._streams.current_stream(self._context.device)
        self._own.wait_stream(before)
        with self._streams.stream(self._own):
            statistics = self._update(batch, share)
        before.wait_stream(self._own)
        return statistics

    def _update(self, batch: Batch, share: range) -> Tensor:
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
        if self._phase != (now := (phase.resolution, phase.fades)):
            self._phase, self._recorded, self._record = now, {}, self._recorder()  # phases do not come back
        if kind not in self._recorded:
            self._recorded[kind] = self._record(run)
        return self._recorded[kind]()

    def _kept(self, inputs: Inputs) -> Inputs:
        """The same values in memory that stays in place."""
        own = self._inputs.setdefault(inputs.boxes.shape, inputs)
        if own is not inputs:
            for field in fields(Inputs):
                getattr(own, field.name).copy_(getattr(inputs, field.name))
        return own
