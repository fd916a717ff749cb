"""Whether volumes can be prepared, as far as is known without stripping a skull, and whether any are the same."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from trainers.data.cohort import naming
from trainers.data.cohort_cache import CohortCache, digest_of
from trainers.data.leaks import Pair, refuse_same, signature
from trainers.data.prepare_volume import PrepareConfig, VolumeTask, prepare_volume
from trainers.data.volume import read_head
from trainers.data.volume_tasks import Volumes
from trainers.distributed import OnProgress
from trainers.exceptions import CohortError, SliceSetError


def check_volumes(volumes: Volumes, config: PrepareConfig, cache: CohortCache, on_progress: OnProgress) -> list[Pair]:
    """Near duplicates, as `refuse_same`.

    Raises:
        CohortError: volumes that `prepare` would refuse, all of them listed; or two patients have the same volume.
    """
    signatures: list[np.ndarray] = []
    broken: dict[str, str] = {}
    for number, task in enumerate(volumes.tasks, start=1):
        try:
            signatures.append(check_volume(task, config, cache))
        except CohortError as error:
            broken[task.subject.volume] = str(error)
        on_progress(number, len(volumes.tasks), {"broken": len(broken)} if broken else {})
    cache.keep()
    return refuse_same(volumes.without(broken, config).cohort, signatures)


def check_volume(task: VolumeTask, config: PrepareConfig, cache: CohortCache) -> np.ndarray:
    """The signature of a volume (`trainers.data.leaks`); one that passed, or was prepared, is not read again.

    Raises:
        CohortError: `prepare` would refuse it. Of a volume whose skull is to be stripped, no more is known than that it
            can be read, shows something and has room for a brain.
    """
    passed = digest_of(["passed", task.key])
    for key in (passed, task.key):
        if kept := cache.results.read(key, "signature"):
            return kept[0]
    if "brain" in task.files or task.subject.stripped:
        found = prepare_volume(task, config).signature
    else:
        with naming(task.subject):
            found = signature(read_head(task.path)[1])
    with suppress(SliceSetError):
        cache.results.write(passed, signature=found)
    return found
