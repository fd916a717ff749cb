"""What `realism` writes into `realism.json`, and its reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from trainers.evaluation.realism.box_fidelity import BoxFidelity
from trainers.evaluation.realism.memorisation import Memorisation

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
class FeatureDistances:
    """Slices against training slices in the features of one extractor; the last four are those of `Overlap`."""

    kid: Spread
    fid: float | None
    """None where the slices are too few for the number of features."""
    precision: float
    recall: float
    density: float
    coverage: float


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


_REPORT = TypeAdapter(RealismReport)


def read_realism(folder: Path) -> RealismReport:
    """The report that `realism` wrote into `folder`.

    Raises:
        pydantic.ValidationError: `realism.json` is damaged.
    """
    return _REPORT.validate_json((folder / FILE).read_bytes())
