"""Volumes that differ most from the others of their cohort, with the figures that do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainers.data.quality.volume_facts import LEVELS, VolumeFacts
from trainers.data.strip_quality import FEWEST, ROBUST_SD, robust_sd

MEDIAN = LEVELS.index(50)


@dataclass(frozen=True)
class Outlier:
    """A volume to look at."""

    facts: VolumeFacts
    reasons: tuple[str, ...]
    distance: float
    """Of its farthest figure, in standard deviations; infinite where all others are alike, and for `noted` reasons."""


@dataclass(frozen=True)
class _Figure:
    """A figure of a volume; NaN where it has none."""

    value: Callable[[VolumeFacts], float]
    unit: str
    least: float
    """A factor from the median below which no difference counts."""
    low_only: bool = False


FIGURES: Mapping[str, _Figure] = {
    "voxel size": _Figure(lambda facts: max(facts.spacing[:2]), " mm", 1.5),
    "slice distance": _Figure(lambda facts: facts.spacing[2], " mm", 1.5),
    "height": _Figure(lambda facts: facts.shape[2] * facts.spacing[2], " mm", 1.4),
    "median intensity": _Figure(lambda facts: facts.intensity[MEDIAN], "", 2.0),
    "lesions": _Figure(lambda facts: len(facts.lesions) or np.nan, "", 3.0),
    "largest lesion": _Figure(lambda facts: facts.lesions["diameter_mm"].max(), " mm", 3.0),
    "brightness of lesions": _Figure(lambda facts: facts.lesions["brightness"].median(), " x brain", 1.25, True),
}
"""All are compared as logarithms, as a volume twice as bright is as far away as one half as bright."""


def outliers(volumes: Sequence[VolumeFacts], noted: Mapping[str, Sequence[str]]) -> list[Outlier]:
    """Volumes to look at, the farthest from the others first.

    Args:
        noted: volume's path -> reasons that are known otherwise; they come first.
    """
    reasons: dict[int, list[str]] = {n: [*noted.get(of.subject.volume, ())] for n, of in enumerate(volumes)}
    distances = np.array([np.inf if reasons[n] else 0.0 for n in range(len(volumes))])
    for name, figure in FIGURES.items():
        values = np.array([figure.value(facts) for facts in volumes], dtype=np.float64)
        measured = np.flatnonzero(values > 0)
        if len(measured) < FEWEST:
            continue
        logs = np.log(values[measured])
        middle = float(np.median(logs))
        sd = robust_sd(logs)
        for number, away in zip(measured.tolist(), logs - middle, strict=True):
            far = -away if figure.low_only else abs(away)
            if far > max(ROBUST_SD * sd, np.log(figure.least)):
                median = f"median {np.exp(middle):.3g}{figure.unit}"
                reasons[number].append(f"{name} {values[number]:.3g}{figure.unit}, {median}")
                distances[number] = max(distances[number], far / sd if sd else np.inf)
    farthest = sorted((n for n in reasons if reasons[n]), key=lambda n: (-distances[n], -len(reasons[n])))
    return [Outlier(volumes[n], tuple(reasons[n]), float(distances[n])) for n in farthest]
