"""What `realism` writes into `realism.json`, and its reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainers.documents import parsed
from trainers.evaluation.realism.box_fidelity import BoxFidelity
from trainers.evaluation.realism.memorisation import Memorisation
from trainers.exceptions import ScoringError

FILE = "realism.json"


@dataclass(frozen=True)
class Spread:
    """A figure over repeated draws."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Likeness:
    """MS-SSIM over pairs of slices: 1 = equal."""

    mean: float
    low: float
    high: float
    """Bounds of the mean's 95 % interval, over the groups of the slices (normal approximation)."""


@dataclass(frozen=True)
class Overlap:
    """How two sets of features cover each other."""

    precision: float
    """Share of the others that lie within a ball around some real one."""
    recall: float
    """Share of the real ones that lie within a ball around some of the others."""
    density: float
    """In how many balls around real ones the others lie, by the number k that is expected; may exceed 1."""
    coverage: float
    """Share of the balls around real ones that hold one of the others."""


@dataclass(frozen=True)
class FeatureDistances(Overlap):
    """Slices against training slices in the features of one extractor."""

    kid: Spread
    fid: float | None
    """None where the slices are too few for the number of features."""


@dataclass(frozen=True)
class Figures:
    """Slices against equally many training slices."""

    features: dict[str, FeatureDistances]
    """By extractor."""
    sliced_wasserstein: float
    ms_ssim: Likeness | None
    """Of pairs within the slices; of real ones, within the training slices, and None if they show one patient."""


@dataclass(frozen=True)
class SyntheticFigures(Figures):
    """The synthetic slices of one GAN."""

    slices: int
    box_fidelity: dict[str, BoxFidelity]
    """By IoU threshold (`iou50`...), in the config's order."""
    memorisation: Memorisation


@dataclass(frozen=True)
class RealismReport:
    """One or several GANs beside real slices."""

    compared_slices: int
    """On either side of a comparison."""
    real: Figures
    """Of held-out slices: what slices of new patients would score."""
    synthetic: dict[str, SyntheticFigures]
    """By name of the GAN or slice set."""
    notes: list[str]


def read_realism(folder: Path) -> RealismReport:
    """The report that `realism` wrote into `folder`; ScoringError if `realism.json` is damaged."""
    return realism_of((folder / FILE).read_bytes(), folder / FILE)


def realism_of(content: str | bytes, where: Path | str) -> RealismReport:
    """The report in a `realism.json`; ScoringError, which names its place, if it is damaged."""
    return parsed(content, RealismReport, where, ScoringError, "Compare the slices again.")
