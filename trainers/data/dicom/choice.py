"""Which series of a study is the axial T1 after contrast, by rules that a user can read in its answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from trainers.data.dicom.headers import ENHANCED_MR, MR, SECONDARY_CAPTURE, Instance, Plane
from trainers.data.names import AFTER, BEFORE, MADE, NOT_T1, sequence_words
from trainers.data.volume_file import MAX_VOXELS
from trainers.documents import shown
from trainers.exceptions import CohortError

FEWEST_SLICES = 15
"""A head in slices of 7 mm has 20; localisers and key images have fewer."""
AXIAL = 0.8
"""Least share of a slice's normal that points to the head: up to 37 degrees of tilt."""
GAP = 1.5
"""Of the usual distance of slices, from which one is missing."""
SEPARATE_MM, CLOSE_MM = 0.01, 0.1
LONGEST_ECHO_MS, SHORT_ECHO_MS, GRADIENT_ECHO_MS, T1_REPETITION_MS = 40.0, 30.0, 10.0, 1000.0
DERIVED = ("DERIVED", "LOCALIZER", "SUBTRACTION", "MIP", "MPR", "PROJECTION IMAGE", "REFORMATTED", "ADC", "SCREEN SAVE")
_LOCALISER = re.compile(r"\bloc|scout|survey|\bplan")
_T1 = re.compile(r"t1|mp ?rage|bravo|spgr|vibe|tfe|\blava|thrive|flash|stealth")


@dataclass(frozen=True)
class Choice:
    """What became of the series of a study."""

    chosen: Sequence[Instance] | None
    lines: tuple[str, ...]
    """For the user: each series, and why it was chosen or rejected."""


def choose(study: Sequence[Sequence[Instance]], wanted: Collection[str]) -> Choice:
    """The series of a study that is its volume; `wanted` (UIDs) goes before the rules, if the series can be converted.

    Raises:
        CohortError: two series of the study are wanted, or a wanted one cannot be converted.
    """
    reasons: dict[str, str] = {}
    candidates: list[Sequence[Instance]] = []
    asked_for = [series for series in study if series[0].series in wanted]
    for series in study:
        reason = unusable(series)
        if series in asked_for:
            if len(asked_for) > 1 or reason is not None:
                why = reason or f"{asked_for[0][0].series} and {asked_for[1][0].series} are of one study; allowed: one"
                raise CohortError(f"--series {series[0].series}: {why}.")
            candidates.append(series)
        elif (reason := reason or ("another series was asked for" if asked_for else unwanted(series))) is not None:
            reasons[series[0].series] = reason
        else:
            candidates.append(series)
    best = max(candidates, key=_rank, default=None)
    lines = []
    for series in sorted(study, key=lambda series: series[0].number):
        head, slices = series[0], sum(len(instance.planes) for instance in series)
        if series is best:
            state = f"chosen: {'as asked' if asked_for else ', '.join(_evidence(head))}"
        else:
            state = f"rejected: {reasons.get(head.series, 'another has more evidence of contrast or more slices')}"
        lines.append(f"  {head.series} {shown(head.description)}, {slices} slices: {state}")
    return Choice(best, tuple(lines))


def unusable(series: Sequence[Instance]) -> str | None:
    """Why a series cannot be converted into a volume; None if it can."""
    head = series[0]
    if head.kind.startswith(SECONDARY_CAPTURE):
        return "a secondary capture, a picture of a screen"
    if head.kind not in (MR, ENHANCED_MR):
        return "no MR images"
    planes = [plane for instance in series for plane in instance.planes]
    sound = [plane for plane in planes if plane is not None]
    if len(sound) < len(planes):
        return "a slice without sound position, orientation or pixel spacing"
    if len({(plane.rows, plane.spacing) for plane in sound}) > 1 or len({instance.shape for instance in series}) > 1:
        return "slices of several orientations, sizes or pixel spacings"
    if min(head.shape) < 1 or head.shape[0] * head.shape[1] * len(sound) > MAX_VOXELS:
        return f"{head.shape[0]} x {head.shape[1]} x {len(sound)} voxels; allowed: up to {MAX_VOXELS:,}"
    if len(sound) < FEWEST_SLICES:
        return f"fewer than {FEWEST_SLICES} slices"
    steps = np.diff(np.sort(_heights(sound, head)))
    if steps.min() < SEPARATE_MM:
        return "several images at one position (echoes, time points or a second copy)"
    if steps.max() > GAP * np.median(steps):
        return f"slices are missing: a step of {steps.max():.1f} mm where others are {np.median(steps):.1f}"
    return None


def covers(series: Sequence[Instance], mask: Instance) -> bool:
    """Whether every frame of a mask lies on a slice of the series, with no more pixels than a volume may have."""
    drawn = [plane for plane in mask.planes if plane is not None]
    if len(drawn) < len(mask.planes) or np.linalg.norm(np.cross(_normal(series[0]), _normal(mask))) > SEPARATE_MM:
        return False
    levels = _heights([plane for instance in series for plane in instance.planes if plane is not None], series[0])
    beside = np.abs(_heights(drawn, series[0])[:, None] - levels).min(axis=1)
    return beside.max() < CLOSE_MM and mask.shape[0] * mask.shape[1] * len(levels) <= MAX_VOXELS


def unwanted(series: Sequence[Instance]) -> str | None:
    """Why a series is not the axial T1 after contrast; None if it is."""
    head, words = series[0], sequence_words(series[0].description)
    if made := [part for part in DERIVED if part in head.image_type]:
        return f"image type {made[0]}"
    for pattern, what in ((_LOCALISER, "a localiser"), (MADE, "made of other series"), (NOT_T1, "another sequence")):
        if pattern.search(words):
            return f"{what}, by its description"
    if abs(_normal(head)[2]) < AXIAL:
        return "not axial"
    if head.echo_ms is not None and head.echo_ms > LONGEST_ECHO_MS:
        return f"no T1: its echo time is {head.echo_ms:g} ms"
    if not _T1.search(words) and not _short_times(head):
        return "neither its description nor its echo and repetition time show T1"
    if BEFORE.search(words):
        return "before contrast, by its description"
    return None if _evidence(head) else "no sign of contrast (agent in the header, or description)"


def _evidence(head: Instance) -> list[str]:
    """What shows that contrast was given."""
    said = AFTER.search(sequence_words(head.description))
    return ["contrast agent in the header"] * head.agent + ["after contrast by its description"] * bool(said)


def _rank(series: Sequence[Instance]) -> tuple[int, int, int]:
    return len(_evidence(series[0])), sum(len(instance.planes) for instance in series), series[0].number


def _short_times(head: Instance) -> bool:
    echo, repetition = head.echo_ms or np.inf, head.repetition_ms or np.inf
    return echo <= GRADIENT_ECHO_MS or (echo <= SHORT_ECHO_MS and repetition <= T1_REPETITION_MS)


def _heights(planes: Sequence[Plane], head: Instance) -> np.ndarray:
    return np.array([plane.position for plane in planes]) @ _normal(head)


def _normal(head: Instance) -> np.ndarray:
    plane = head.planes[0]
    assert plane is not None, "`unusable` refuses these"
    return np.cross(plane.rows[:3], plane.rows[3:])
