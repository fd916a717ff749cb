"""Runs training loops as a Ray Train job or in this process; the only place in `trainers` that knows Ray.

A training loop is a function of one `Context`: it learns its rank and device from it, reports progress to it, and keeps
its checkpoints with it. Ray is imported where it is used, so loops run where it is not installed; torch, too, as its
import takes longer than many a command.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from trainers.checkpoints import Checkpoints
from trainers.config import Config
from trainers.exceptions import MetsweepError, NodeTakenAwayError, StopRequestedError, TrainingError

if TYPE_CHECKING:
    import torch

GROUP_TIMEOUT_S = 24 * 3600
"""How long a rank waits for the others. Rank 0 evaluates alone, on CPUs an hour and more at paper size, against torch's
30 minutes; Ray itself notices a worker that died, not by this timeout."""

logger = logging.getLogger(__name__)

FAILURES, ELASTIC_FAILURES = 2, 20
"""How often a run continues after it lost workers; nodes taken away with notice (spot instances) are not counted."""
ELASTIC_START_S = 5
"""How long an elastic run waits for room for as many workers as it reckons with before it looks again. Ray's view of
the cluster is up to 20 s old: right after the loss of a node it asks for the old number."""
ELASTIC_STARTS = 7 * 24 * 3600 // ELASTIC_START_S
"""How often it looks again: a week, as long as a run of a fixed number of workers waits."""

OnProgress = Callable[[int, int, Mapping[str, float]], None]
"""Called by rank 0 with the work done, the work in all (same unit) and the newest metrics."""

AGREE_S, STOP_POINTS_AGREED = 2.0, 16
"""Several ranks ask each other about so often, and at least at every so many stop points: asking costs a collective,
and a node that will be taken away leaves half a minute."""


class WorkerResources(Config):
    """What one training run occupies."""

    workers: int = Field(default=1, ge=1, le=10_000)
    """Ray Train workers, i.e. ranks; at most 10,000, more than a cluster of Ray has nodes."""
    min_workers: int | None = None
    """Elastic run: when nodes are lost it continues from its checkpoint with as many workers as find room, down
    to this, and takes more again later; none = it waits until all fit."""
    cpus_per_worker: int = Field(default=1, ge=1, le=10_000)
    """CPU cores of one worker; also its torch threads."""
    gpus_per_worker: float = Field(default=0.0, ge=0, le=10_000)
    """GPUs of one worker; a fraction (several runs share a GPU) only with one worker."""
    placement: Literal["pack", "spread", "strict_pack", "strict_spread"] = "pack"
    """Which nodes the workers go to: `pack` = few nodes, `spread` = many, as far as they have room; `strict_pack` = one
    node, `strict_spread` = a node each, or the run waits."""

    @model_validator(mode="after")
    def _fits_together(self) -> WorkerResources:
        if self.min_workers is not None and not 1 <= self.min_workers <= self.workers:
            raise ValueError(f"min_workers: got {self.min_workers}; allowed: 1 to workers ({self.workers}), or none")
        if self.gpus_per_worker % 1 and (self.workers > 1 or self.gpus_per_worker > 1):
            raise ValueError(
                f"gpus_per_worker: got {self.gpus_per_worker:g} with {self.workers} workers; allowed: whole numbers, "
                "and a fraction below 1 with one worker"
            )
        return self


@dataclass(frozen=True)
class Placement:
    """Which of how many ranks this process is, and the device it works on."""

    rank: int
    world_size: int
    device: torch.device

    @staticmethod
    def alone() -> Placement:
        """The only rank, on the GPU of the machine if it has one."""
        import torch

        return Placement(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


class _End(IntEnum):
    """Why a run is to end at its next stop point; where ranks differ, the highest counts."""

    NO = 0
    NODE_TAKEN_AWAY = 1
    ASKED = 2


class Context:
    """What a training loop knows of where it runs.

    Args:
        placement: rank, world size and device.
        checkpoints: those of this very run; whoever runs the same content later continues from there.
        on_progress: receives rank 0's progress.
        asked_to_stop: whether the run is to end before it is done; asked on rank 0, often, so it must be cheap.
        taken_away: whether the node of this rank will be taken away; asked on every rank, as often.
    """

    def __init__(
        self,
        placement: Placement,
        checkpoints: Checkpoints,
        on_progress: OnProgress,
        asked_to_stop: Callable[[], bool] = lambda: False,
        taken_away: Callable[[], bool] = lambda: False,
    ) -> None:
        self.rank = placement.rank
        self.world_size = placement.world_size
        self.device = placement.device
        self._checkpoints = checkpoints
        self._on_progress = on_progress
        self._asked_to_stop, self._taken_away = asked_to_stop, taken_away
        self._asked_at = time.monotonic()
        self._between = self._until_asked = 1

    def progress(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Report how far the loop is; only rank 0's calls are passed on. Cheap: does not wait for anyone."""
        if self.rank == 0:
            self._on_progress(done, total, metrics)

    def stop_point(self, write: Callable[[Path], None]) -> None:
        """A place where the run can end: every rank must come by, after the same step.

        Args:
            write: as for `save_checkpoint`, with which the run would continue from here.

        Raises:
            NodeTakenAwayError: on every rank, after the checkpoint was kept, if a node of the run will be taken away.
            StopRequestedError: likewise, if the run was asked to end.
        """
        self._until_asked -= 1
        if self._until_asked:
            return
        end = self._end() if self.world_size == 1 else self._agreed(self._end())
        self._until_asked = self._between
        if end == _End.NO:
            return
        self.save_checkpoint(write)
        if end == _End.NODE_TAKEN_AWAY:
            raise NodeTakenAwayError("A node of the run will be taken away; the run continues from its checkpoint.")
        raise StopRequestedError("The run was asked to end; it continues from its checkpoint.")

    def _end(self) -> _End:
        if self.rank == 0 and self._asked_to_stop():
            return _End.ASKED
        return _End.NODE_TAKEN_AWAY if self._taken_away() else _End.NO

    def _agreed(self, end: _End) -> _End:
        """The strongest reason of all ranks, which also agree on when they ask again."""
        import torch

        now = time.monotonic()
        said = torch.tensor([end, (now - self._asked_at) / self._between], device=self.device)
        torch.distributed.all_reduce(said, torch.distributed.ReduceOp.MAX)
        strongest, seconds = said.tolist()
        self._asked_at = now
        self._between = min(max(int(AGREE_S / seconds), 1), STOP_POINTS_AGREED)
        return _End(int(strongest))

    def load_checkpoint(self) -> Path | None:
        """The folder of the newest checkpoint of this very run, or None at its first start."""
        return self._checkpoints.load()

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        """Keep a checkpoint in place of the one before: `write` fills a folder, on rank 0 only."""
        if self.rank == 0:
            self._checkpoints.save(write)


def train_on_ray(loop: Callable[[Placement], None], *, name: str, storage: str, resources: WorkerResources) -> None:
    """Run `loop` on every worker of a Ray Train job and wait for its end, or for its StopRequestedError.

    When a node of the workers will be taken away, they end at a checkpoint and begin again elsewhere.

    Args:
        loop: picklable; called once per worker, within the job's process group if there are several.
        name: name of the Ray Train run.
        storage: folder or URI that every node reaches, for Ray Train's own state.
        resources: number of workers and what each holds.

    Raises:
        MetsweepError: what the loop raised on the first rank that raised one.
        TrainingError: the job failed for good for any other reason; carries Ray's message.
    """
    import ray.train
    import ray.train.torch
    import torch
    from ray.train.v2.api.exceptions import TrainingFailedError

    def worker() -> bool:
        torch.set_num_threads(resources.cpus_per_worker)
        context = ray.train.get_context()
        placement = Placement(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
        return left_its_node(lambda: loop(placement))

    least = resources.min_workers
    per_worker: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    trainer = ray.train.torch.TorchTrainer(
        worker,
        torch_config=ray.train.torch.TorchConfig(timeout_s=GROUP_TIMEOUT_S),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers if least is None else (least, resources.workers),
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=per_worker,
            placement_strategy=resources.placement.upper(),
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=storage,
            failure_config=ray.train.FailureConfig(
                max_failures=FAILURES if least is None else ELASTIC_FAILURES,
                controller_failure_limit=FAILURES if least is None else ELASTIC_STARTS,
            ),
        ),
    )
    before = signal.getsignal(signal.SIGINT)
    try:
        with _elastic_start() if least is not None else nullcontext():
            while trainer.fit().return_value:
                logger.info("left a node that will be taken away", extra={"run": name})
    except TrainingFailedError as error:
        if own := _error_of_loop(error):
            raise own from error
        raise TrainingError(f"Ray Train run {name} failed: {error}") from error
    finally:
        # Ray leaves its own handler behind, which reaches for this run's controller at any later Ctrl-C.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def left_its_node(run: Callable[[], None]) -> bool:
    """Run to the end, or to a StopRequestedError; whether the run left a node and is to begin again elsewhere.

    Raised, such an error would count as a lost worker.
    """
    try:
        run()
    except NodeTakenAwayError:
        return True
    except StopRequestedError:
        pass
    return False


@contextmanager
def _elastic_start() -> Iterator[None]:
    """Ray Train runs that begin within the block look for other room after ELASTIC_START_S."""
    name = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
    before = os.environ.get(name)
    os.environ[name] = str(ELASTIC_START_S)
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _error_of_loop(error: Exception) -> MetsweepError | None:
    """The first rank's error that is meant for a person; errors of the ranks that waited for it say less."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    return next((failure for _, failure in sorted(failures.items()) if isinstance(failure, MetsweepError)), None)


def train_in_process(loop: Callable[[Context], None], *, checkpoints: Checkpoints, on_progress: OnProgress) -> None:
    """Run `loop` here as the only rank; it continues from the newest of `checkpoints`."""
    loop(Context(Placement.alone(), checkpoints, on_progress))
