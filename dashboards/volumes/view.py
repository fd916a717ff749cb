"""What an address of a volume's page names: a patient's volume, and the trial whose detections it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dashboards.volumes.findings import COLUMNS, boxes_in
from dashboards.web.pages import whole_number
from sweep.report.results import Results, Row
from trainers.data.geometry import SliceGeometry
from trainers.data.prepare_volume import geometry_of
from trainers.data.slice_set import SliceSet, Split
from trainers.data.volume_file import load_image
from trainers.detector.dataset import detector_rows
from trainers.documents import shown
from trainers.evaluation.evaluate import SPLITS
from trainers.evaluation.outcome import Outcome
from trainers.evaluation.outcome_files import read_outcomes
from trainers.exceptions import CohortError, ConfigError

T = TypeVar("T")
MOST_VOXELS = 2**27
"""Of a volume that a browser is given: 512 x 512 x 512."""
MOST_BYTES = 2**29
"""Of its file."""


@dataclass(frozen=True)
class View:
    """A volume, and a trial's detections in it."""

    study: str
    results: Results
    slices: SliceSet
    patient: str
    split: Split
    volumes: tuple[str, ...]
    """Of the patient, relative to the cohort's folder."""
    number: int
    """Of the volume shown, from 0."""
    row: Row | None
    """The arm or drawn cell; None while no trial is evaluated."""
    seed: int
    iou: float
    confidence: float
    """Detections below it are left out."""

    @classmethod
    def of(cls, request: Request, results: Results, slices: SliceSet) -> View:
        """The view that an address names; what it leaves open is the study's first, and its confidence.

        Raises:
            HTTPException: the study has no such patient or volume.
            ConfigError: a value of the address is not allowed.
        """
        name, patient = request.path_params["name"], request.path_params["patient"]
        own = slices.slices[slices.slices["patient_id"] == patient]
        split = None if own.empty else own["split"].iloc[0]
        if split not in SPLITS:
            raise HTTPException(404, f"Study {name} has no validation or test patient of that name")
        volumes = tuple(dict.fromkeys(own["volume"]))
        asked = request.query_params
        wanted = request.path_params.get("number", whole_number(asked.get("volume", "")) or 0)
        if at := asked.get("slice"):
            wanted = volumes.index(own.loc[own["slice_id"] == at, "volume"].item()) if at in set(own["slice_id"]) else 0
        if wanted >= len(volumes):
            raise HTTPException(404, "The patient has no such volume")
        evaluation = results.plan.study.evaluation
        rows = {row.name: row for row in results.rows if row.artifacts}
        row = rows[_one_of(rows, "arm", asked.get("arm"))] if rows else None
        return cls(
            study=name,
            results=results,
            slices=slices,
            patient=patient,
            split=cast(Split, split),
            volumes=volumes,
            number=wanted,
            row=row,
            seed=0 if row is None else _one_of(row.artifacts, "seed", asked.get("seed")),
            iou=_one_of(evaluation.ious, "iou", asked.get("iou"), "{:g}".format),
            confidence=_share("confidence", asked.get("confidence"), evaluation.confidence),
        )

    @property
    def volume(self) -> str:
        """Path of the volume shown, relative to the cohort's folder."""
        return self.volumes[self.number]

    @cached_property
    def geometry(self) -> SliceGeometry | None:
        """Where its slices lie in it; None if the slice set does not say."""
        return geometry_of(self.slices, self.volume)

    @cached_property
    def boxes(self) -> pd.DataFrame:
        """As `boxes_in`; none while no trial is evaluated."""
        if self.row is None:
            return pd.DataFrame(columns=list(COLUMNS))
        (artifact,) = self.row.artifacts[self.seed]
        outcome = _outcome(artifact.path, self.split, self.iou)
        return boxes_in(outcome.at(self.confidence), self.volume)

    @property
    def scan(self) -> Path:
        """The volume's file.

        Raises:
            CohortError: it is not on this machine, is no volume, is not that which the slices were made of, or is more
                than a browser can show.
        """
        return self._checked[0]

    @property
    def image(self) -> Nifti1Image:
        """The same, opened."""
        return self._checked[1]

    @cached_property
    def _checked(self) -> tuple[Path, Nifti1Image]:
        file = self.results.plan.trials[0].evaluate.detector.slices.cohort / self.volume
        if self.geometry is None:
            raise CohortError("The slice set does not say where its slices lie in a volume. Prepare it of a cohort.")
        if not file.is_file():
            raise CohortError(f"The volume is not on this machine: there is no {file}. Start this command where it is.")
        image = load_image(file)
        if image.shape != self.geometry.shape:
            raise CohortError(
                f"{file} has {image.shape} voxels, but had {self.geometry.shape} when its slices were made. Launch the "
                "study again."
            )
        voxels, size = math.prod(image.shape), file.stat().st_size
        if voxels > MOST_VOXELS or size > MOST_BYTES:
            raise CohortError(
                f"{file} has {voxels:,} voxels in {size:,} bytes; a browser is given up to {MOST_VOXELS:,} in "
                f"{MOST_BYTES:,}. Open it in another viewer."
            )
        return file, image

    def picture(self, z: int) -> np.ndarray:
        """A slice of the volume, S x S uint8; HTTPException if the slice set lacks it."""
        table = self.slices.slices
        own = (table["volume"] == self.volume) & (table["patient_id"] == self.patient)
        at = np.flatnonzero(own & (table["z"] == z))
        if not len(at):
            raise HTTPException(404, "The volume has no such slice")
        return np.asarray(self.slices.images[at[0]])


def patients_of(slices: SliceSet) -> list[dict[Any, Any]]:
    """Validation and test patients: patient_id, split, scanner, slices, lesion boxes; those of the test split first."""
    rows = np.concatenate([detector_rows(slices, split) for split in reversed(SPLITS)])
    table = slices.slices.iloc[rows]
    boxes = table["slice_id"].map(slices.boxes["slice_id"].value_counts()).fillna(0).astype(int)
    groups = table.assign(boxes=boxes).groupby("patient_id", sort=False)
    patients = groups.agg(
        split=("split", "first"), scanner=("scanner", "first"), slices=("z", "size"), boxes=("boxes", "sum")
    )
    return patients.reset_index().to_dict("records")


@lru_cache(maxsize=4)
def _outcome(folder: Path, split: Split, iou: float) -> Outcome:
    return read_outcomes(folder, split, (iou,))[iou]


def _one_of(allowed: Iterable[T], name: str, asked: str | None, text: Callable[[T], str] = str) -> T:
    """The value that an address names, by default the first."""
    named = {text(value): value for value in allowed}
    if asked is None:
        return next(iter(named.values()))
    if asked not in named:
        raise ConfigError(f"{name} is {shown(asked)}; allowed: {', '.join(list(named)[:20])}.")
    return named[asked]


def _share(name: str, asked: str | None, default: float) -> float:
    try:
        value = default if not asked else float(asked)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} is {shown(asked)}; allowed: a number from 0 to 1.")
    return value
