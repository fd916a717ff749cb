"""Writes the demo cohort: patients with enhancing metastases, and normal subjects, simulated on real heads.

Anatomy, scanner, lesions and vessels are simulated; the heads that they start from are real (`heads`). Settings follow
published numbers where available; those that were chosen are marked where they are used.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, get_args

import nibabel as nib
import numpy as np
import torch

from trainers.data.annotation import COLUMNS
from trainers.data.cohort import MANIFEST
from trainers.data.demo.config import DemoCohortConfig
from trainers.data.demo.heads import check_packages
from trainers.data.demo.patient import Patient, base_head_of, make_patient, split_of
from trainers.data.slice_set import Kind, Split
from trainers.distributed import OnProgress
from trainers.exceptions import CohortError

VERSION = 1
"""Raised whenever the same config gives other volumes."""

_UNFINISHED = ".unfinished.json"
_WRITING = ".writing-"
_VOLUME = "t1c.nii.gz"


def make_demo_cohort(out: Path, config: DemoCohortConfig, on_progress: OnProgress, workers: int = 1) -> None:
    """Write the demo cohort into the folder `out`: a folder for each patient, and `cohort.json` last of all.

    A run that was killed continues where it stopped; a cohort that is complete is left as it is.

    Args:
        on_progress: called with (subjects done, subjects in all, figures of the subject: `seconds` and `lesions`).
        workers: processes; the result does not depend on it.

    Raises:
        CohortError: `out` holds something else or a cohort made with other settings, cannot be written, or a package
            that holds a base head is missing.
    """
    numbers: dict[Kind, int] = {"tumour": config.patients, "normal": config.normals}
    subjects: list[tuple[Kind, int]] = [(kind, i + 1) for kind, count in numbers.items() for i in range(count)]
    if _prepare(out, config):
        on_progress(len(subjects), len(subjects), {})
        return
    missing = [subject for subject in subjects if not (out / _patient_id(*subject) / _VOLUME).is_file()]
    done = len(subjects) - len(missing)
    if done:
        on_progress(done, len(subjects), {})
    for figures in _make_all(out, config, missing, workers):
        done += 1
        on_progress(done, len(subjects), figures)
    entries = [_entry(out, kind, number) for kind, number in subjects]
    _write_json(out / MANIFEST, {"name": "demo", "origin": _origin(config), "subjects": entries})
    (out / _UNFINISHED).unlink()


def _prepare(out: Path, config: DemoCohortConfig) -> bool:
    """Make or check the folder; True if it holds the complete cohort already."""
    advice = "Choose another folder, or delete this one."
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (MANIFEST, _UNFINISHED):
            if (out / name).is_file():
                _check_same(out / name, config, advice)
                return name == MANIFEST
        foreign = sorted(path.name for path in out.iterdir() if not path.name.startswith(_WRITING))
        if foreign:
            raise CohortError(f"{out} is not empty and is no demo cohort: it holds {', '.join(foreign[:5])}. {advice}")
        check_packages()
        _write_json(out / _UNFINISHED, {"name": "demo", "origin": _origin(config)})
    except OSError as error:
        raise CohortError(f"{out} cannot be written: {error.strerror or error}. {advice}") from error
    return False


def _check_same(file: Path, config: DemoCohortConfig, advice: str) -> None:
    try:
        made = json.loads(file.read_text())["origin"]
        before, now = {**made["config"], "version": made["version"]}, {**config.model_dump(), "version": VERSION}
    except (ValueError, KeyError, TypeError) as error:
        raise CohortError(f"{file} does not belong to a demo cohort. {advice}") from error
    differing = [key for key in now if before.get(key) != now[key]]
    if differing:
        changes = ", ".join(f"{key} {before.get(key)} (asked for: {now[key]})" for key in differing)
        raise CohortError(f"{file.parent} holds a demo cohort made with other settings: {changes}. {advice}")


def _make_all(
    out: Path, config: DemoCohortConfig, subjects: list[tuple[Kind, int]], workers: int
) -> Iterator[dict[str, float]]:
    if workers <= 1 or len(subjects) <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums are added up in another order by more threads
        try:
            for kind, number in subjects:
                yield _make_one(out, config, kind, number)
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(subjects)), context, initializer=_start_worker) as pool:
        jobs = [pool.submit(_make_one, out, config, kind, number) for kind, number in subjects]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """One thread each; and a worker whose parent was killed ends as well, which the pool does not see to."""
    torch.set_num_threads(1)

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _make_one(out: Path, config: DemoCohortConfig, kind: Kind, number: int) -> dict[str, float]:
    """Make and write one subject, its volume last: a subject with a volume is complete."""
    start = time.perf_counter()
    patient = make_patient(kind, number, config)
    folder = out / _patient_id(kind, number)
    try:
        folder.mkdir(exist_ok=True)
        _write(folder, kind, patient)
    except OSError as error:
        raise CohortError(f"{folder} cannot be written: {error.strerror or error}. Free space, then go on.") from error
    return {"seconds": time.perf_counter() - start, "lesions": float(patient.lesions)}


def _write(folder: Path, kind: Kind, patient: Patient) -> None:
    if kind == "tumour":
        lines = [",".join(COLUMNS), *(",".join(map(str, box)) for box in patient.boxes)]
        _replace(folder / "boxes.csv", lambda file: file.write_text("\n".join(lines) + "\n"))
        _write_nifti(folder / "lesions.nii.gz", patient.labels, patient)
    note = json.dumps({"scanner": patient.scanner.name})
    _replace(folder / "scanner.json", lambda file: file.write_text(note))
    _write_nifti(folder / _VOLUME, patient.volume, patient)


def _write_nifti(file: Path, voxels: np.ndarray, patient: Patient) -> None:
    image = nib.Nifti1Image(voxels, patient.scanner.affine)  # type: ignore[attr-defined]
    image.header.set_xyzt_units("mm")
    _replace(file, lambda temporary: nib.save(image, temporary))  # type: ignore[attr-defined]


def _write_json(file: Path, content: dict[str, Any]) -> None:
    _replace(file, lambda temporary: temporary.write_text(json.dumps(content, indent=2)))


def _replace(file: Path, write: Callable[[Path], object]) -> None:
    """Write beside `file` and rename, so that a file is whole or does not exist."""
    temporary = file.with_name(_WRITING + file.name)
    write(temporary)
    temporary.replace(file)


def _entry(out: Path, kind: Kind, number: int) -> dict[str, Any]:
    name = _patient_id(kind, number)
    tumour = kind == "tumour"
    return {
        "patient_id": name,
        "kind": kind,
        "split": split_of(number) if tumour else "train",
        "scanner": json.loads((out / name / "scanner.json").read_text())["scanner"],
        "volume": f"{name}/{_VOLUME}",
        "mask": f"{name}/lesions.nii.gz" if tumour else None,
        "boxes": f"{name}/boxes.csv" if tumour else None,
    }


def _origin(config: DemoCohortConfig) -> dict[str, Any]:
    return {
        "made_by": "metsweep cohort demo",
        "version": VERSION,
        "config": config.model_dump(),
        "base_heads": {split: base_head_of("tumour", number) for number, split in enumerate(get_args(Split), start=1)},
    }


def _patient_id(kind: Kind, number: int) -> str:
    return f"{'P' if kind == 'tumour' else 'N'}{number:03d}"
