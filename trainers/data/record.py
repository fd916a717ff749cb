"""What `prepare` recorded about a slice set's volumes in its `meta.json`."""

from __future__ import annotations

from pydantic import ConfigDict, Field, ValidationError

from trainers.config import Config
from trainers.data.geometry import SliceGeometry
from trainers.data.kept_lesions import CutLesion
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.slice_set import META_FILE, SliceSet
from trainers.documents import why
from trainers.exceptions import SliceSetError


class _Record(Config):
    """Part of a document to which later versions may add keys."""

    model_config = ConfigDict(extra="ignore")


class VolumeRecord(_Record):
    """What became of one volume."""

    geometry: SliceGeometry
    brain_ml: float
    boxes_widened: int
    boxes_cut: int
    boxes_outside_brain: int
    lesions_cut: tuple[CutLesion, ...] = ()


class DroppedVolume(_Record):
    """A volume that is not in the slice set."""

    patient_id: str
    volume: str
    reason: str


class CohortRecord(_Record):
    """The cohort that was prepared."""

    fingerprint: str
    """As `trainers.data.volume_tasks.content_of`."""


class Preparation(_Record):
    """What `prepare` did."""

    config: PrepareConfig
    cohort: CohortRecord
    volumes: dict[str, VolumeRecord]
    """By path, as the cohort names them."""
    odd_masks: dict[str, str] = Field(default_factory=dict)
    """Volume -> why to look at its brain mask."""
    dropped: tuple[DroppedVolume, ...] = ()


def read_preparation(slices: SliceSet) -> Preparation:
    """The record of a slice set that `prepare` made; SliceSetError for other sets, and damaged records."""
    try:
        return Preparation.model_validate(slices.meta)
    except ValidationError as error:
        raise SliceSetError(
            f"{slices.path / META_FILE}: is no record of a preparation ({why(error)}); needed: a slice set that "
            "`metsweep prepare` made of this cohort."
        ) from error
