"""What the `meta.json` of a shard of synthetic slices records of their quality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainers.data.slice_set import META_FILE
from trainers.documents import parsed
from trainers.exceptions import SliceSetError


@dataclass(frozen=True)
class Curated:
    """How many attempts were discarded, and by whom."""

    threshold: float | None
    """Visibility below which attempts are discarded; None without curation."""
    attempts: int
    discard_rate: float
    unclear: int
    """Images that no attempt filled above the threshold."""
    kept_by_review: int = 0
    discarded_by_review: int = 0


@dataclass(frozen=True)
class Shard:
    """One shard."""

    curation: Curated
    box_contrast: float
    """Grey levels, mean over the boxes."""
    box_contrast_real: float
    """The same for the training annotation."""


def read_shard(folder: Path) -> Shard:
    """What `synthesize` recorded in `folder`; SliceSetError if `meta.json` is damaged."""
    file = folder / META_FILE
    return parsed(file.read_bytes(), Shard, file, SliceSetError, "Synthesise the slices again.")
