"""Prepares volumes in several processes of this machine."""

from __future__ import annotations

import logging
import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice

import psutil

from trainers.data.prepare_volume import (
    BrokenVolume,
    Outcomes,
    PrepareConfig,
    PreparedVolume,
    VolumeTask,
    prepare_here,
    prepare_or_reason,
)
from trainers.data.volume_file import load_image
from trainers.exceptions import CohortError
from trainers.one_thread import use_one_thread

PROCESS_BYTES = 1.5e9
VOXEL_BYTES = 14
"""Measured for heads that are stripped: 1.56 GB at 192 x 192 x 160 voxels, 1.60 at 320 x 320 x 200, 2.5 to 3.0 at
512 x 512 x 400."""

logger = logging.getLogger(__name__)


def memory_needed(task: VolumeTask) -> float:
    """Bytes that the process of a volume needs; 0 if the volume cannot be opened."""
    try:
        return PROCESS_BYTES + VOXEL_BYTES * math.prod(load_image(task.path).shape)
    except CohortError:
        return 0.0


@dataclass(frozen=True)
class Processes:
    """Processes of one thread each: as many as asked for that memory suffices for; a single one is this process."""

    workers: int

    def __call__(self, tasks: Sequence[VolumeTask], config: PrepareConfig) -> Outcomes:
        """The results in the order of completion; no more are held than two per process.

        Raises:
            CohortError: a process was killed.
        """
        workers = self._fitting(tasks)
        if workers == 1:
            yield from prepare_here(tasks, config)
            return
        spawn = multiprocessing.get_context("spawn")
        left = iter(tasks)
        pending: dict[Future[PreparedVolume | BrokenVolume], VolumeTask] = {}
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=use_one_thread) as pool:
            try:
                while True:
                    for task in islice(left, 2 * workers - len(pending)):
                        pending[pool.submit(prepare_or_reason, task, config)] = task
                    if not pending:
                        return
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        yield pending.pop(future), future.result()
            except BrokenProcessPool as error:
                raise CohortError(
                    f"One of {workers} preparing processes was killed, most likely for lack of memory. Use fewer "
                    "workers."
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)

    def _fitting(self, tasks: Sequence[VolumeTask]) -> int:
        workers = min(self.workers, len(tasks))
        if workers <= 1:
            return 1
        fitting = int(psutil.virtual_memory().available // max(map(memory_needed, tasks)))
        if fitting < workers:
            logger.warning("memory suffices for %d of %d preparing processes", max(1, fitting), workers)
        return max(1, min(workers, fitting))
