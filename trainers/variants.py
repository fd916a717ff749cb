"""Variants: where the synthetic slices of an arm come from.

All that anything asks of a variant is a trait in `GANS`; no other file compares names of variants. A new GAN is a name
and its traits here, and, with networks of its own, their file and a line in `trainers.gan.checkpoint.NETWORKS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

GANVariant = Literal["cpggan", "cpggan+normal", "image2image", "cpggan+detector"]
Variant = Literal["none", GANVariant]
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
VARIANTS: tuple[Variant, ...] = (REAL_ONLY, *GANS)
