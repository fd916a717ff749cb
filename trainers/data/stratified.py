"""Splits by hand: by shares or in folds, alike in lesion counts, lesion sizes and scanners, or as a table says.

Of many random divisions the one is taken whose groups differ least (Morgan and Rubin, 2012, rerandomisation): it stays
random, decided by the seed, and needs no strata, which few patients and many scanners would leave empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from trainers.config import Config
from trainers.data.annotation import read_boxes
from trainers.data.cohort import Cohort, Subject, check_splits
from trainers.data.slice_set import Split
from trainers.distributed import OnProgress
from trainers.documents import read_table, shown
from trainers.exceptions import CohortError

DRAWS = 2_000
"""Random divisions, of which the most even is taken, within a second."""
FEWEST_FOLDS = 3
"""One each for test, validation and training."""


class Fold(Config):
    """Which of several divisions of the patients: each patient is a test patient in one of them."""

    number: int = Field(ge=1)
    """Counts from 1."""
    of: int = Field(ge=FEWEST_FOLDS)
    """Folds in all."""

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Fold:
        if self.number > self.of:
            raise ValueError(f"number is {self.number}; allowed: up to {self.of}, the folds in all")
        return self


@dataclass(frozen=True)
class Profile:
    """What groups of patients shall have alike."""

    lesions: int
    """3-D lesions of all volumes."""
    diameter_mm: float
    """Median of the lesions' diameters (`read_boxes`)."""
    scanner: str
    """Of the first volume."""


def read_profiles(cohort: Cohort, on_progress: OnProgress) -> dict[str, Profile]:
    """The profile of each tumour patient; CohortError for annotation that cannot be used."""

    def annotated() -> Iterable[tuple[Subject, pd.DataFrame]]:
        for number, subject in enumerate(cohort.subjects, start=1):
            if subject.kind == "tumour":
                yield subject, read_boxes(cohort, subject)
            on_progress(number, len(cohort.subjects), {})

    return profiles_of(annotated())


def profiles_of(annotated: Iterable[tuple[Subject, pd.DataFrame]]) -> dict[str, Profile]:
    """The profile of each patient, from the boxes (`read_boxes`) of tumour volumes in the cohort's order."""
    diameters: dict[str, list[float]] = {}
    scanners: dict[str, str] = {}
    for subject, boxes in annotated:
        diameters.setdefault(subject.patient_id, []).extend(boxes.groupby("lesion")["diameter_mm"].first())
        scanners.setdefault(subject.patient_id, subject.scanner)
    return {
        patient: Profile(len(sizes), float(np.median(sizes)), scanners[patient]) for patient, sizes in diameters.items()
    }


def by_shares(cohort: Cohort, profiles: Mapping[str, Profile], shares: Sequence[int], seed: int) -> Cohort:
    """The cohort split anew by `shares`: per cent for train, validation and test; normal subjects train.

    Raises:
        CohortError: shares that are no three positive per cents, or fewer than three tumour patients.
    """
    if len(shares) != len(get_args(Split)) or min(shares) < 1 or sum(shares) != 100:
        raise CohortError(f"The shares are {shares}; allowed: three whole numbers from 1 that add up to 100: 70/10/20.")
    if len(profiles) < len(shares):
        raise CohortError(f"{cohort.folder}: {len(profiles)} tumour patients; needed: 3, one per split.")
    validation, test = (max(1, round(share * len(profiles) / 100)) for share in shares[1:])
    groups = _even_groups(profiles, (len(profiles) - validation - test, validation, test), seed)
    return _with_splits(cohort, dict(zip(get_args(Split), groups, strict=True)))


def in_folds(cohort: Cohort, profiles: Mapping[str, Profile], folds: int, seed: int) -> list[Cohort]:
    """A cohort per fold: the fold is its test split, the next fold its validation split, all others train.

    Raises:
        CohortError: fewer than three folds, or more than tumour patients.
    """
    if not FEWEST_FOLDS <= folds <= len(profiles):
        raise CohortError(
            f"{cohort.folder}: {folds} folds; allowed: {FEWEST_FOLDS} to the {len(profiles)} tumour patients."
        )
    sizes = [len(part) for part in np.array_split(np.arange(len(profiles)), folds)]
    groups = _even_groups(profiles, sizes, seed)
    return [
        _with_splits(cohort, {"test": groups[fold], "validation": groups[(fold + 1) % folds]}) for fold in range(folds)
    ]


def as_given(cohort: Cohort, table: Path) -> Cohort:
    """The cohort with the splits of a CSV with the columns patient_id and split; normal subjects may be left out.

    Raises:
        CohortError: a patient is missing, unknown, or listed twice, or a split is unknown or remains empty.
    """
    tumour = {subject.patient_id for subject in cohort.subjects if subject.kind == "tumour"}
    normal = {subject.patient_id for subject in cohort.subjects} - tumour
    chosen: dict[str, str] = {}
    for line, cells in read_table(table, CohortError, ["patient_id", "split"]):
        patient, split = cells["patient_id"], cells["split"]
        allowed = get_args(Split) if patient in tumour else ("train",)
        if patient not in tumour | normal or patient in chosen or split not in allowed:
            raise CohortError(
                f"{table}, line {line}: patient {shown(patient)}, split {shown(split)}; allowed: each patient of "
                f"{cohort.folder} once, and {', '.join(allowed)} for this one."
            )
        chosen[patient] = split
    if missing := sorted(tumour - chosen.keys()):
        raise CohortError(f"{table}: lacks {len(missing)} patients of {cohort.folder}, {missing[0]!r} first. Add them.")
    return _with_splits(cohort, {split: [p for p in chosen if chosen[p] == split] for split in get_args(Split)})


def _with_splits(cohort: Cohort, groups: Mapping[Split, Sequence[str]]) -> Cohort:
    split_of = {patient: split for split, patients in groups.items() for patient in patients}
    subjects = (s.model_copy(update={"split": split_of.get(s.patient_id, "train")}) for s in cohort.subjects)
    divided = replace(cohort, subjects=tuple(subjects))
    check_splits(divided)
    return divided


def _even_groups(profiles: Mapping[str, Profile], sizes: Sequence[int], seed: int) -> list[list[str]]:
    """Patients in groups of these sizes; of DRAWS random divisions the one with the least `_difference`."""
    patients = sorted(profiles)
    features = _features([profiles[patient] for patient in patients])
    ends = np.cumsum(sizes)[:-1]
    generator = np.random.default_rng(seed)
    draws = (np.split(generator.permutation(len(patients)), ends) for _ in range(DRAWS))
    best = min(draws, key=lambda groups: _difference(features, groups))
    return [[patients[i] for i in sorted(group)] for group in best]


def _features(profiles: Sequence[Profile]) -> np.ndarray:
    """Patients x features, of mean 0 and variance 1; those of scanners weigh together as much as a number."""
    numbers = np.log([[profile.lesions, profile.diameter_mm] for profile in profiles])
    scanners = sorted({profile.scanner for profile in profiles})
    sites = np.array([[profile.scanner == scanner for scanner in scanners] for profile in profiles], dtype=float)
    columns = np.hstack([numbers, sites])
    columns = (columns - columns.mean(axis=0)) / np.maximum(columns.std(axis=0), 1e-9)
    columns[:, 2:] /= np.sqrt(len(scanners))
    return columns


def _difference(features: np.ndarray, groups: Sequence[np.ndarray]) -> float:
    """How far the groups' means are from that of all, in units of chance."""
    return sum(len(group) * float((features[group].mean(axis=0) ** 2).sum()) for group in groups)
