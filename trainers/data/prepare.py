"""Cohort -> slice set: the stage before everything else (paper section 2.2, Data Preparation)."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from pydantic import ValidationError

from trainers.data.cohort import Cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.kept_lesions import CutLesion
from trainers.data.leaks import refuse_same
from trainers.data.prepare_volume import (
    BrokenVolume,
    PrepareConfig,
    PreparedVolume,
    Run,
    VolumeRows,
    VolumeTask,
    prepare_here,
)
from trainers.data.results import Results
from trainers.data.slice_set import BOX_COLUMNS, SLICE_COLUMNS, Split, stream_slice_set
from trainers.data.strip_quality import odd_masks
from trainers.data.volume_tasks import Volumes, content_of, plan_volumes
from trainers.distributed import OnProgress
from trainers.exceptions import SliceSetError

ROW_COLUMNS = [*SLICE_COLUMNS, "subject_kind"]
LABELLED_BOX_COLUMNS = [*BOX_COLUMNS, "lesion", "diameter_mm"]

logger = logging.getLogger(__name__)


def prepare(
    cohort: Cohort,
    config: PrepareConfig,
    out: Path,
    on_progress: OnProgress,
    run: Run = prepare_here,
    cache: CohortCache | None = None,
) -> None:
    """Write the slice set of `cohort` into the folder `out`, which must be empty or not exist yet.

    `slices.parquet` has the extra column `subject_kind` (a lesion-free slice of a tumour patient is kind `normal`,
    subject_kind `tumour`), `boxes.parquet` the extra columns `lesion` (number of the 3-D lesion within its volume) and
    `diameter_mm` (float64: its size, see `read_boxes`; all its boxes share both), and `meta.json` the geometry of each
    volume (`SliceGeometry.from_json`). The size is the annotation's before the rough margin, before small boxes are
    widened and before boxes outside the brain are left out: the lesion's, not its boxes'. `meta.json` counts those
    boxes, and those cut at a slice's border, and lists under `dropped` the volumes that could not be used.

    Args:
        run: prepares volumes, here, in several processes (`Processes`) or on a cluster; its results come in any order.
        cache: holds what was read and made before, and gets what is made; without it nothing is kept.

    Raises:
        CohortError: annotation, splits or volumes cannot be used; most of it is refused before any volume is read,
            broken voxels, and volumes of two patients that are the same (`trainers.data.leaks`), once all were read.
        SliceSetError: `out` cannot be written.
    """
    made = _make_folder(out)
    try:
        volumes = plan_volumes(cohort, config, cache)
        fingerprint = content_of(volumes.cohort, config, cache.digest) if cache else content_of(volumes.cohort, config)
        with tempfile.TemporaryDirectory(prefix=".volumes-", dir=out) as scratch:
            results = cache.results if cache is not None and cache.results.writable() else Results(Path(scratch))
            rows, broken = _prepare_volumes(volumes, config, results, run, on_progress)
            volumes = volumes.without(broken, config)
            for pair in refuse_same(volumes.cohort, list(_read(volumes.tasks, results, "signature"))):
                logger.warning("near duplicates: %s", pair)
            _write(volumes, config, fingerprint, rows, results, out)
            results.remove_old()
        if cache is not None:
            cache.keep()
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()


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


def _prepare_volumes(
    volumes: Volumes,
    config: PrepareConfig,
    results: Results,
    run: Run,
    on_progress: OnProgress,
) -> tuple[dict[str, VolumeRows], dict[str, str]]:
    """The rows of each volume, with its images in `results`, and why others are broken; both by the volume's path."""
    rows: dict[str, VolumeRows] = {}
    broken: dict[str, str] = {}
    slices = 0

    def report(task: VolumeTask, outcome: VolumeRows | BrokenVolume) -> None:
        nonlocal slices
        if isinstance(outcome, BrokenVolume):
            broken[task.subject.volume] = outcome.reason
        else:
            rows[task.subject.volume] = outcome
            slices += len(outcome.slices)
        figures = {"slices": slices} | ({"broken": len(broken)} if broken else {})
        on_progress(len(rows) + len(broken), len(volumes.tasks), figures)

    missing: list[VolumeTask] = []
    for task in volumes.tasks:
        kept = _kept_rows(results, task)
        if kept is None:
            missing.append(task)
        else:
            report(task, kept)
    with closing(run(missing, config)) as outcomes:
        for task, outcome in outcomes:
            if isinstance(outcome, PreparedVolume):
                content = np.frombuffer(outcome.rows.model_dump_json().encode(), np.uint8)
                results.write(task.key, rows=content, images=outcome.images, signature=outcome.signature)
                report(task, outcome.rows)
            else:
                report(task, outcome)
    return rows, broken


def _kept_rows(results: Results, task: VolumeTask) -> VolumeRows | None:
    kept = results.read(task.key, "rows")
    try:
        return None if kept is None else VolumeRows.model_validate_json(kept[0].tobytes())
    except ValidationError:
        return None


def _write(
    volumes: Volumes,
    config: PrepareConfig,
    fingerprint: str,
    rows: dict[str, VolumeRows],
    results: Results,
    out: Path,
) -> None:
    cohort = volumes.cohort
    slices = pd.DataFrame(
        [
            (slice_id, subject.patient_id, subject.split, subject.scanner, kind, subject.volume, z, subject.kind)
            for subject in cohort.subjects
            for slice_id, kind, z in rows[subject.volume].slices
        ],
        columns=ROW_COLUMNS,
    )
    boxes = pd.DataFrame(
        [box for subject in cohort.subjects for box in rows[subject.volume].boxes], columns=LABELLED_BOX_COLUMNS
    )
    about = {
        subject.volume: {"patient_id": subject.patient_id, **rows[subject.volume].about} for subject in cohort.subjects
    }
    for volume, of_volume in about.items():
        if outside := of_volume["boxes_outside_brain"]:
            logger.warning("%s: %d boxes lie outside the brain and are left out", volume, outside)
        for lesion in map(CutLesion.model_validate, of_volume.get("lesions_cut", [])):
            if lesion.counts:
                logger.warning("%s: %s", volume, lesion)
    meta = {
        "size": config.size,
        "config": config.model_dump(mode="json"),
        "cohort": {"name": cohort.name, "origin": cohort.origin, "fingerprint": fingerprint},
        "counts": _counts(slices, boxes, about),
        "volumes": about,
    }
    if odd := odd_masks(about):
        meta["odd_masks"] = odd
        for volume, reason in odd.items():
            logger.warning("%s: look at its brain mask: %s", volume, reason)
    if volumes.left_out:
        meta["dropped"] = [
            {
                "patient_id": volume.subject.patient_id,
                "volume": volume.subject.volume,
                "reason": volume.reason.replace(f"{cohort.folder}/", ""),
            }
            for volume in volumes.left_out
        ]
    stream_slice_set(out, _read(volumes.tasks, results, "images"), config.size, slices, boxes, meta)


def _read(tasks: Sequence[VolumeTask], results: Results, name: str) -> Iterator[np.ndarray]:
    for task in tasks:
        kept = results.read(task.key, name)
        if kept is None:
            raise SliceSetError(
                f"The prepared slices of {task.path}, kept until the slice set is written, are damaged or were "
                "removed. Prepare again: only this volume is made anew."
            )
        yield kept[0]


def _counts(slices: pd.DataFrame, boxes: pd.DataFrame, about: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "slices": len(slices),
        "boxes": len(boxes),
        **{
            name: sum(of_volume[name] for of_volume in about.values())
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
