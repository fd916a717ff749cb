"""A cohort made of others: its manifest names their files where they lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainers.data.cohort import MANIFEST, Cohort, Subject, check_patients
from trainers.exceptions import CohortError

MOST_NAMED = 5
"""Patients that an error message lists."""


def merge_cohorts(cohorts: Sequence[Cohort], home: Path) -> Cohort:
    """All patients of `cohorts`, as a cohort that will lie at `home`.

    Raises:
        CohortError: a patient is in two of them, as public sets share scans under one name; a volume is listed twice.
    """
    owner: dict[str, Cohort] = {}
    for cohort in cohorts:
        patients = dict.fromkeys(subject.patient_id for subject in cohort.subjects)
        shared = [patient for patient in patients if patient in owner]
        if shared:
            named = ", ".join(map(repr, shared[:MOST_NAMED])) + ", ..." * (len(shared) > MOST_NAMED)
            raise CohortError(
                f"{owner[shared[0]].folder} and {cohort.folder} share patients ({len(shared)}): {named}. If they are "
                "the same people (BraTS-METS holds scans of Pretreat-MetsToBrain-Masks and of its earlier years), use "
                f"one of both cohorts, or delete these subjects from one {MANIFEST}; if not, rename them in one."
            )
        owner.update(dict.fromkeys(patients, cohort))
    subjects = tuple(subject for cohort in cohorts for subject in moved(cohort, home).subjects)
    check_patients(home / MANIFEST, subjects)
    origin = {"merged": [{"name": cohort.name, "origin": cohort.origin} for cohort in cohorts]}
    return Cohort(home, home.absolute().name, origin, subjects)


def moved(cohort: Cohort, home: Path) -> Cohort:
    """The cohort with a manifest at `home`: absolute paths stay, relative ones lead from there."""

    def from_home(path: str) -> str:
        if Path(path).is_absolute():
            return path
        file = cohort.path(path)
        real = file.parent.resolve() / file.name  # the file itself may be a link of another name
        return os.path.relpath(real, home.parent.resolve() / home.name)

    def subject_at_home(subject: Subject) -> Subject:
        return subject.model_copy(update={key: from_home(path) for key, path in subject.files.items()})

    return replace(cohort, folder=home, subjects=tuple(map(subject_at_home, cohort.subjects)))
