"""Settings of the demo cohort."""

from __future__ import annotations

from pydantic import Field

from trainers.config import Config


class DemoCohortConfig(Config):
    """What the demo cohort holds."""

    patients: int = Field(default=20, ge=3, le=9999)
    """Tumour patients; of every ten, seven are for training, one for validation and two for testing."""
    normals: int = Field(default=4, ge=0, le=9999)
    """Subjects without lesions, all for training."""
    seed: int = Field(default=0, ge=0)
    """Patient k depends on the seed and k alone."""
    lesions_median: float = Field(default=6.0, ge=1, le=20)
    """Median number of lesions of a patient (log-normal, sigma 0.6, at most 25)."""
    lesion_diameter_mm: float = Field(default=9.0, ge=4, le=20)
    """Median diameter of a lesion (log-normal, sigma 0.45, cut at 4 and 30 mm); clinical medians are 4 to 6 mm."""
