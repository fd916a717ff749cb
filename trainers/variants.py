"""Variants: where the synthetic slices of an arm come from.

All that anything asks of a variant is a trait in `GANS`, `PASTED`, `INPAINTED` or `REAL`; no other file compares names
of variants. A new GAN is a name and its traits here, and, with networks of its own, their file and a line
in `trainers.gan.checkpoint.NETWORKS`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

GANVariant = Literal["cpggan", "cpggan+normal", "image2image", "cpggan+detector"]
PastedVariant = Literal["copy_paste", "noise_to_box"]
InpaintedVariant = Literal["inpaint"]
SyntheticVariant = Literal[GANVariant, PastedVariant, InpaintedVariant]
RealVariant = Literal["none", "classic"]
AdjustableVariant = Literal[SyntheticVariant, "classic"]
"""Those whose settings a study may override: all but the real-only arm, which the others are compared with."""
Variant = Literal[SyntheticVariant, RealVariant]
Networks = Literal["cpggan", "u-net"]

REAL_ONLY: Final = "none"
"""The variant without synthetic slices; also the name of its arm."""


@dataclass(frozen=True, kw_only=True)
class GANTraits:
    """What holds of every GAN of a variant, whatever its config."""

    description: str
    """What the GAN is, in a few words."""
    networks: Networks
    """Which generator and discriminator it trains."""
    smallest: int
    """Least `gan.resolution`, pixels."""
    grows: bool = False
    """Whether training starts at `gan.initial_resolution` and adds layers up to `gan.resolution`."""
    grouped: bool = False
    """Whether the discriminator sees the deviation within each `gan.stddev_group` of a step."""
    needs_normals: bool = False
    """Whether it learns from slices of normal subjects, too."""
    needs_detector: bool = False
    """Whether its generator learns from a frozen detector, too."""


CPGGAN = GANTraits(description="CPGGAN", networks="cpggan", smallest=4, grows=True, grouped=True)
GANS: dict[GANVariant, GANTraits] = {
    "cpggan": CPGGAN,
    "cpggan+normal": replace(CPGGAN, description="CPGGAN trained also with normal brains", needs_normals=True),
    "image2image": GANTraits(description="the image-to-image GAN", networks="u-net", smallest=16),
    "cpggan+detector": replace(
        CPGGAN, description="CPGGAN whose generator also learns from a frozen detector", needs_detector=True
    ),
}
"""The variants whose slices a GAN draws."""


@dataclass(frozen=True, kw_only=True)
class PastedTraits:
    """What holds of a variant that draws something into real training slices."""

    description: str
    """What it draws, in a few words."""
    content: Literal["lesion", "noise"]
    """What is drawn at a place: a training lesion, or a bright disc of noise of the same size."""


PASTED: dict[PastedVariant, PastedTraits] = {
    "copy_paste": PastedTraits(description="lesions of other training slices", content="lesion"),
    "noise_to_box": PastedTraits(
        description="a placebo: bright discs of noise, where copy_paste has lesions", content="noise"
    ),
}
"""The variants that draw something into real training slices, without a network."""


@dataclass(frozen=True, kw_only=True)
class InpaintedTraits:
    """What holds of a variant that redraws windows of real training slices."""

    description: str
    """What draws, in a few words."""


INPAINTED: dict[InpaintedVariant, InpaintedTraits] = {
    "inpaint": InpaintedTraits(description="a diffusion model that redraws a window around each new box"),
}
"""The variants that draw lesions into real training slices with a network."""


@dataclass(frozen=True, kw_only=True)
class RealTraits:
    """What holds of a variant without synthetic slices."""

    description: str
    """What the detector learns from, in a few words."""
    detector: Mapping[str, Any] = field(default_factory=dict)
    """Values of the section `detector` that its detectors are trained with instead of the study's."""


REAL: dict[RealVariant, RealTraits] = {
    "none": RealTraits(description="real slices, augmented as for every other variant"),
    "classic": RealTraits(
        description="real slices with strong classical augmentation",
        detector={
            "mosaic": 0.5, "copy_paste": 0.5, "degrees": 15.0, "shear": 5.0, "translate": 0.2, "scale": 0.5,
            "intensity": 0.4,
        },
    ),
}  # fmt: skip
"""The variants without synthetic slices."""
SYNTHETIC: tuple[SyntheticVariant, ...] = (*GANS, *PASTED, *INPAINTED)
"""The variants with synthetic slices."""
SECTIONS: Mapping[str, Collection[SyntheticVariant]] = {"gan": GANS, "paste": PASTED, "inpaint": INPAINTED}
"""Section of a study -> the variants whose source it configures."""
VARIANTS: tuple[Variant, ...] = (*SYNTHETIC, *REAL)
