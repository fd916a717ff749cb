"""A cohort -> its splits, and what to prepare of each volume; refuses or leaves out what cannot be prepared."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from trainers.data.annotation import COLUMNS, read_boxes
from trainers.data.cohort import MANIFEST, Cohort, Subject, check_splits, listed
from trainers.data.cohort_cache import CohortCache, digest_of
from trainers.data.leaks import SIGNATURE_VERSION
from trainers.data.prepare_volume import PrepareConfig, VolumeTask
from trainers.data.splits import assign_splits, unused_patients
from trainers.data.stratified import in_folds, profiles_of
from trainers.data.strip_program import strip_program
from trainers.data.volume_file import FileDigest, file_digest
from trainers.exceptions import CohortError, SliceSetError

VERSION = 4
"""Raised when something else is made of a volume or its annotation, so that no earlier result is used."""
INTEGERS = [*COLUMNS, "lesion"]
"""Columns of a table of boxes that hold whole numbers; the other is `diameter_mm`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeftOut:
    """A volume that is not in the slice set, as it cannot be used."""

    subject: Subject
    reason: str


@dataclass(frozen=True)
class Volumes:
    """The volumes of a cohort that can be prepared as far as is known, and the others."""

    cohort: Cohort
    """With all splits set."""
    tasks: tuple[VolumeTask, ...]
    """One for each of its subjects, in their order."""
    left_out: tuple[LeftOut, ...]

    def without(self, broken: Mapping[str, str], config: PrepareConfig) -> Volumes:
        """The rest, as `config.on_error` says.

        Args:
            broken: volume -> reason.

        Raises:
            CohortError: broken volumes are to be refused, or a split is empty without them.
        """
        left_out = [LeftOut(task.subject, broken[task.subject.volume]) for task in self._with(broken, True)]
        refuse_or_report(left_out, config)
        tasks = self._with(broken, False)
        cohort = replace(self.cohort, subjects=tuple(task.subject for task in tasks))
        check_splits(cohort)
        return Volumes(cohort, tuple(tasks), (*self.left_out, *left_out))

    def _with(self, broken: Mapping[str, str], is_broken: bool) -> list[VolumeTask]:
        return [task for task in self.tasks if (task.subject.volume in broken) is is_broken]


def check_cohort(cohort: Cohort, config: PrepareConfig) -> Cohort:
    """The cohort with all splits set, refused if it cannot be prepared; looks at annotation, and at volumes only as
    files.

    Raises:
        CohortError: damaged files, a volume listed twice, broken annotation, a tumour volume without a lesion, too few
            patients, an empty split, or volumes whose slices would have the same ids.
    """
    return plan_volumes(cohort, config).cohort


def content_of(cohort: Cohort, config: PrepareConfig, digest: Callable[[Path, bool], FileDigest] = file_digest) -> str:
    """The fingerprint of a cohort as it is prepared; where broken volumes are left out, damaged files count, too.

    Raises:
        CohortError: as `Cohort.fingerprint`.
    """

    def of_damaged_too(path: Path, volume: bool) -> FileDigest:
        try:
            return digest(path, volume)
        except CohortError:
            return digest(path, False)

    return cohort.fingerprint(digest if config.on_error == "refuse" else of_damaged_too)


def plan_volumes(cohort: Cohort, config: PrepareConfig, cache: CohortCache | None = None) -> Volumes:
    """What to prepare; reads all annotation but what the cache holds.

    Raises:
        CohortError: as `check_cohort`.
    """
    program = strip_program(config.strip)  # refused now where it is missing
    stems = _stems(cohort)
    digest = file_digest if cache is None else cache.digest
    content_of(cohort, config, digest)
    tasks: list[VolumeTask] = []
    left_out: list[LeftOut] = []
    how = config.model_dump(mode="json", exclude={"on_error", "train_patients", "fold"})
    made_by = [SIGNATURE_VERSION, program, version("torch")]
    for subject, stem in zip(cohort.subjects, stems, strict=True):
        try:
            files = {key: digest(cohort.path(path), key != "boxes").file.hex() for key, path in subject.files.items()}
            annotated = [VERSION, files, subject.mask_labels]
            boxes = _boxes(cohort, subject, digest_of(annotated), cache)
        except CohortError as error:
            left_out.append(LeftOut(subject, str(error)))
            continue
        key = digest_of([*annotated, stem, subject.kind, subject.stripped, how, *made_by])
        paths = {name: cohort.path(path) for name, path in subject.files.items()}
        tasks.append(VolumeTask(subject, stem, paths, boxes, program, key))
    refuse_or_report(left_out, config)
    annotated = {task.subject.volume: task.boxes for task in tasks}
    for volume in left_out:
        with suppress(CohortError):  # where the annotation is broken, none are known
            annotated[volume.subject.volume] = read_boxes(cohort, volume.subject)
    # Splits are those of the whole cohort, or a damaged file would move other patients.
    whole = _divided(cohort, annotated, config)
    divided = {subject.volume: subject for subject in whole.subjects}
    tasks = [replace(task, subject=divided[task.subject.volume]) for task in tasks]
    unused = unused_patients(whole, config.train_patients, config.seed)
    tasks = [task for task in tasks if task.subject.patient_id not in unused]
    usable = replace(cohort, subjects=tuple(task.subject for task in tasks))
    check_splits(usable)
    return Volumes(usable, tuple(tasks), tuple(left_out))


def _divided(cohort: Cohort, annotated: Mapping[str, pd.DataFrame], config: PrepareConfig) -> Cohort:
    """The cohort with a split for every subject; `annotated`: volume -> its boxes."""
    known = [(subject, annotated[subject.volume]) for subject in cohort.subjects if subject.volume in annotated]
    if config.fold is not None:
        profiles = profiles_of((subject, boxes) for subject, boxes in known if subject.kind == "tumour")
        return in_folds(cohort, profiles, config.fold.of, config.seed)[config.fold.number - 1]
    lesions: Counter[str] = Counter()
    for subject, boxes in known:
        lesions[subject.patient_id] += boxes["lesion"].nunique()
    return assign_splits(cohort, lesions, config.seed)


def refuse_or_report(left_out: list[LeftOut], config: PrepareConfig) -> None:
    """Refuse volumes that cannot be used, all together, or log that they are left out.

    Raises:
        CohortError: they are not to be left out.
    """
    if left_out and config.on_error == "refuse":
        advice = 'Correct or remove them; with prepare.on_error set to "drop", such volumes are left out and listed.'
        reasons = listed([volume.reason for volume in left_out])
        raise CohortError(f"{reasons}\n{advice}" if len(left_out) > 1 else reasons)
    for volume in left_out:
        logger.warning("left out: %s", volume.reason)


def _boxes(cohort: Cohort, subject: Subject, key: str, cache: CohortCache | None) -> pd.DataFrame:
    """As `read_boxes`, which reads and labels a whole mask, once for the same files."""
    kept = None if cache is None else cache.results.read(key, "boxes", "diameters")
    if kept is not None:
        boxes = pd.DataFrame(kept[0], columns=INTEGERS)
        boxes["diameter_mm"] = kept[1]
        return boxes
    boxes = read_boxes(cohort, subject)
    if cache is not None:
        with suppress(SliceSetError):
            cache.results.write(
                key, boxes=boxes[INTEGERS].to_numpy(np.int64), diameters=boxes["diameter_mm"].to_numpy()
            )
    return boxes


def _stems(cohort: Cohort) -> list[str]:
    """What the slice ids of each volume begin with."""
    volumes = Counter(subject.patient_id for subject in cohort.subjects)
    seen: Counter[str] = Counter()
    owners: dict[str, str] = {}
    for subject in cohort.subjects:
        patient = subject.patient_id
        seen[patient] += 1
        stem = patient if volumes[patient] == 1 else f"{patient}-v{seen[patient]}"
        if stem in owners:
            raise CohortError(
                f"{cohort.folder / MANIFEST}: slices of patients {owners[stem]!r} and {patient!r} would both be called "
                f"{stem}-z...; several volumes of one get -v1, -v2 after the name. Rename one."
            )
        owners[stem] = patient
    return list(owners)
