"""How the skull is stripped."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainers.config import Config


class StripConfig(Config):
    """How the skull is stripped of volumes that come with it and without a mask of their brain."""

    method: Literal["deepbet", "hd-bet", "synthstrip"] = "deepbet"
    """`deepbet` is installed with metsweep; HD-BET (command `hd-bet`, version 2) and SynthStrip (`mri_synthstrip` or
    `nipreps-synthstrip`) are commands that must be installed."""
    threshold: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Voxels that deepbet takes for brain with more than this probability are brain."""
    keep_lesions: bool = True
    """Whether lesions that the strip cuts into are given back; found lesions are unknown at detection."""
    lesion_margin_mm: float = Field(default=2.0, ge=0.0, le=20.0)
    """What is given back around such a lesion."""


DEFAULT_STRIP = StripConfig()
