"""Cohort -> slice set: the stage before everything else (paper section 2.2, Data Preparation)."""

from __future__ import annotations

import logging
import math
import multiprocessing
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import psutil
import torch

from trainers.data.annotation import read_boxes
from trainers.data.cohort import MANIFEST, Cohort
from trainers.data.leaks import refuse_same
from trainers.data.prepare_volume import (
    LABELLED_BOX_COLUMNS,
    ROW_COLUMNS,
    PrepareConfig,
    PreparedVolume,
    VolumeTask,
    join_rows,
    prepare_volume,
)
from trainers.data.slice_set import Split, write_slice_set
from trainers.data.splits import assign_splits
from trainers.data.volume_file import load_image
from trainers.distributed import OnProgress
from trainers.exceptions import CohortError, SliceSetError

logger = logging.getLogger(__name__)

PROCESS_BYTES = 1.5e9
VOXEL_BYTES = 14
"""Measured for heads that are stripped: 1.56 GB at 192 x 192 x 160 voxels, 1.60 at 320 x 320 x 200, 2.5 to 3.0 at
512 x 512 x 400."""


def prepare(cohort: Cohort, config: PrepareConfig, out: Path, on_progress: OnProgress, workers: int = 1) -> None:
    """Write the slice set of `cohort` into the folder `out`, which must be empty or not exist yet.

    `slices.parquet` has the extra column `subject_kind` (a lesion-free slice of a tumour patient is kind `normal`,
    subject_kind `tumour`), `boxes.parquet` the extra columns `lesion` (number of the 3-D lesion within its volume) and
    `diameter_mm` (float64: its size, see `read_boxes`; all its boxes share both), and `meta.json` the geometry of each
    volume (`SliceGeometry.from_json`). The size is the annotation's before the rough margin, before small boxes are
    widened and before boxes outside the brain are left out: the lesion's, not its boxes'. `meta.json` counts those
    boxes, and those cut at a slice's border.

    Args:
        workers: processes; each uses one thread. Fewer where memory does not suffice: each needs 1.5 GB and 14 bytes
            per voxel of the largest volume. 1 works in this process with its threads.

    Raises:
        CohortError: annotation, splits or a volume cannot be used; most of it is refused before any volume is read.
            Or two patients have the same volume (`trainers.data.leaks`), which is known when all were read.
        SliceSetError: `out` cannot be written.
    """
    cohort, tables = _plan(cohort, config)
    tasks = [
        VolumeTask(subject, stem, cohort.path(subject.volume), table)
        for subject, stem, table in zip(cohort.subjects, _stems(cohort), tables, strict=True)
    ]
    made = _make_folder(out)
    workers = _fitting(tasks, workers)
    try:
        done: dict[int, PreparedVolume] = {}
        with closing(_run(tasks, config, workers)) as results:
            for index, prepared in results:
                done[index] = prepared
                on_progress(len(done), len(tasks), {"slices": sum(len(part.images) for part in done.values())})
        parts = [done[index] for index in range(len(tasks))]
        for pair in refuse_same(cohort, [part.signature for part in parts]):
            logger.warning("near duplicates: %s", pair)
        _write(cohort, config, parts, out)
    except BaseException:
        if made and not any(out.iterdir()):
            out.rmdir()
        raise


def check_cohort(cohort: Cohort, config: PrepareConfig) -> Cohort:
    """The cohort with all splits set, refused if it cannot be prepared; looks at annotation, and at volumes only as
    files.

    Raises:
        CohortError: a damaged file, a volume listed twice, broken annotation, a tumour volume without a lesion, too few
            patients, an empty split, or volumes whose slices would have the same ids.
    """
    return _plan(cohort, config)[0]


def _plan(cohort: Cohort, config: PrepareConfig) -> tuple[Cohort, list[pd.DataFrame]]:
    """The cohort with all splits set, and each subject's boxes."""
    cohort.fingerprint()
    _check_stems(cohort)
    tables = [read_boxes(cohort, subject) for subject in cohort.subjects]
    lesions: Counter[str] = Counter()
    for subject, table in zip(cohort.subjects, tables, strict=True):
        lesions[subject.patient_id] += table["lesion"].nunique()
    return assign_splits(cohort, lesions, config.seed), tables


def _stems(cohort: Cohort) -> Iterator[str]:
    """What the slice ids of each volume begin with."""
    volumes = Counter(subject.patient_id for subject in cohort.subjects)
    seen: Counter[str] = Counter()
    for subject in cohort.subjects:
        patient = subject.patient_id
        seen[patient] += 1
        yield patient if volumes[patient] == 1 else f"{patient}-v{seen[patient]}"


def _check_stems(cohort: Cohort) -> None:
    owners: dict[str, str] = {}
    for subject, stem in zip(cohort.subjects, _stems(cohort), strict=True):
        if stem in owners:
            raise CohortError(
                f"{cohort.folder / MANIFEST}: slices of patients {owners[stem]!r} and {subject.patient_id!r} would "
                f"both be called {stem}-z...; several volumes of one get -v1, -v2 after the name. Rename one."
            )
        owners[stem] = subject.patient_id


def _make_folder(out: Path) -> bool:
    """Make `out`; whether it did not exist before."""
    try:
        existed = out.is_dir()
        if existed and any(out.iterdir()):
            raise SliceSetError(f"{out} is not empty; choose another folder, or remove it to prepare again.")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SliceSetError(f"{out}: the folder of the slice set cannot be made ({error.strerror}).") from error
    return not existed


def _fitting(tasks: list[VolumeTask], workers: int) -> int:
    """As many of the processes as fit into memory."""
    voxels = max(math.prod(load_image(task.path).shape) for task in tasks)
    fitting = int(psutil.virtual_memory().available // (PROCESS_BYTES + VOXEL_BYTES * voxels))
    if fitting < workers:
        logger.warning("memory suffices for %d of %d preparing processes", max(1, fitting), workers)
    return max(1, min(workers, fitting))


def _run(
    tasks: list[VolumeTask], config: PrepareConfig, workers: int
) -> Generator[tuple[int, PreparedVolume], None, None]:
    """Every task's number and result, in the order of completion."""
    if workers == 1:
        for index, task in enumerate(tasks):
            yield index, prepare_volume(task, config)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = {pool.submit(prepare_volume, task, config): index for index, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise CohortError(
                f"One of {workers} preparing processes was killed, most likely for lack of memory. Use fewer workers."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _write(cohort: Cohort, config: PrepareConfig, parts: list[PreparedVolume], out: Path) -> None:
    slices = join_rows([part.slices for part in parts], ROW_COLUMNS)
    boxes = join_rows([part.boxes for part in parts], LABELLED_BOX_COLUMNS)
    volumes = dict(zip((subject.volume for subject in cohort.subjects), (part.about for part in parts), strict=True))
    for volume, about in volumes.items():
        if about["boxes_outside_brain"]:
            logger.warning("%s: %d boxes lie outside the brain and are left out", volume, about["boxes_outside_brain"])
    counts = {
        "slices": len(slices),
        "boxes": len(boxes),
        **{
            name: sum(about[name] for about in volumes.values())
            for name in ("boxes_widened", "boxes_cut", "boxes_outside_brain")
        },
        "by_split": {
            split: {
                "patients": int(rows["patient_id"].nunique()),
                "slices": len(rows),
                "boxes": int(boxes["slice_id"].isin(rows["slice_id"]).sum()),
            }
            for split, rows in ((split, slices[slices["split"] == split]) for split in get_args(Split))
        },
    }
    meta = {
        "size": config.size,
        "config": config.model_dump(mode="json"),
        "cohort": {"name": cohort.name, "origin": cohort.origin, "fingerprint": cohort.fingerprint()},
        "counts": counts,
        "volumes": volumes,
    }
    write_slice_set(out, np.concatenate([part.images for part in parts]), slices, boxes, meta)
