"""What the `meta.json` of a shard of synthetic slices records of their quality."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trainers.data.slice_set import META_FILE


class Curated(BaseModel):
    """How many attempts were discarded, and by whom."""

    model_config = ConfigDict(frozen=True)

    threshold: float | None
    """Visibility below which attempts are discarded; None without curation."""
    attempts: int
    discard_rate: float
    unclear: int
    """Images that no attempt filled above the threshold."""
    kept_by_review: int = 0
    discarded_by_review: int = 0


class Shard(BaseModel):
    """One shard."""

    model_config = ConfigDict(frozen=True)

    curation: Curated
    box_contrast: float
    """Grey levels, mean over the boxes."""
    box_contrast_real: float
    """The same for the training annotation."""


def read_shard(folder: Path) -> Shard:
    """What `synthesize` recorded in `folder`.

    Raises:
        pydantic.ValidationError: `meta.json` is damaged.
    """
    return Shard.model_validate_json((folder / META_FILE).read_bytes())
