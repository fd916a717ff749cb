"""Patients -> train, validation and test: 70/10/20 %, as the paper's 126/18/36 of 180, stratified by lesion count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from trainers.data.cohort import MANIFEST, Cohort, check_splits
from trainers.data.slice_set import Split
from trainers.exceptions import CohortError

SHARES: tuple[tuple[Split, float], ...] = (("validation", 0.1), ("test", 0.2))


def assign_splits(cohort: Cohort, lesions: Mapping[str, int], seed: int) -> Cohort:
    """The cohort with a split for every subject; splits that the manifest gives are kept.

    Args:
        lesions: number of lesions of each tumour patient, over all of the patient's volumes.
        seed: same cohort and seed, same splits.

    Raises:
        CohortError: fewer than three tumour patients to divide, or a split remains empty.
    """
    chosen: dict[str, Split] = {s.patient_id: s.split for s in cohort.subjects if s.split is not None}
    tumour = sorted({s.patient_id for s in cohort.subjects if s.kind == "tumour"})
    if len(tumour) < 3:
        raise CohortError(
            f"{cohort.folder / MANIFEST}: {len(tumour)} tumour patients; at least 3 are needed, one each for train, "
            "validation and test."
        )
    generator = np.random.default_rng(seed)
    free = [patient for patient in tumour if patient not in chosen]
    free = [free[i] for i in generator.permutation(len(free))]
    free.sort(key=lambda patient: lesions[patient])
    for split, share in SHARES:
        want = max(1, round(share * len(tumour))) - sum(chosen.get(patient) == split for patient in tumour)
        for patient in _one_of_each_stratum(free, want, lesions, generator):
            chosen[patient] = split
            free.remove(patient)
    subjects = (s.model_copy(update={"split": chosen.get(s.patient_id, "train")}) for s in cohort.subjects)
    divided = replace(cohort, subjects=tuple(subjects))
    check_splits(divided)
    return divided


def unused_patients(cohort: Cohort, train_patients: int | None, seed: int) -> set[str]:
    """Tumour patients of the training split beyond the first `train_patients`; none if that is None.

    Args:
        cohort: with a split for every subject.
        seed: decides the order of the patients, whatever their number.

    Raises:
        CohortError: the training split has fewer.
    """
    if train_patients is None:
        return set()
    patients = sorted({s.patient_id for s in cohort.subjects if s.kind == "tumour" and s.split == "train"})
    if len(patients) < train_patients:
        raise CohortError(
            f"{cohort.folder / MANIFEST}: {len(patients)} tumour patients are in the training split, but "
            f"prepare.train_patients, or that of an arm, is {train_patients}; allowed: up to {len(patients)}."
        )
    order = np.random.default_rng(seed).permutation(len(patients))
    return {patients[place] for place in order[train_patients:]}


def _one_of_each_stratum(
    patients: Sequence[str], count: int, lesions: Mapping[str, int], generator: np.random.Generator
) -> list[str]:
    """Cut patients, sorted by lesions, into `count` equal strata and draw one of each, one with lesions if it can."""
    if count <= 0 or not patients:
        return []
    picked = []
    for stratum in np.array_split(np.array(patients), min(count, len(patients))):
        with_lesions = [str(patient) for patient in stratum if lesions[str(patient)]]
        picked.append(str(generator.choice(with_lesions or list(stratum))))
    return picked
