"""How lesions are drawn into other training slices."""

from __future__ import annotations

from pydantic import Field

from trainers.config import Config
from trainers.variants import PASTED, PastedTraits, PastedVariant, SyntheticVariant


class PlacesConfig(Config):
    """Where lesions are drawn in real slices, and how far they may differ from those that they are made from."""

    variant: SyntheticVariant
    most_lesions: int = Field(default=2, ge=1, le=100)
    """Lesions that a slice gains: 1 to this many, each number as likely; fewer where no room is left."""
    mirror: bool = True
    """Whether half of the lesions are mirrored."""
    max_rotation: float = Field(default=180.0, ge=0.0, le=180.0)
    """Largest rotation to either side, degrees; drawn uniformly."""
    max_zoom: float = Field(default=0.25, ge=0.0, lt=1.0)
    """Largest relative change of a lesion's size; the factor is uniform between 1 - max_zoom and 1 + max_zoom."""
    max_contrast: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Largest relative change of a lesion's contrast to its surroundings; drawn uniformly."""


class PasteConfig(PlacesConfig):
    """What is pasted into real slices."""

    variant: PastedVariant = Field(
        default="copy_paste",
        description=f"What is drawn: {'; '.join(f'{name}, {pasted.description}' for name, pasted in PASTED.items())}.",
    )

    @property
    def traits(self) -> PastedTraits:
        """What holds of this variant."""
        return PASTED[self.variant]
