"""Lesions and detections across slices: what a reader who scrolls through the volume would count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trainers.evaluation.metrics import DIAMETERS, diameter_class, sensitivity_by_class
from trainers.evaluation.metrics_file import LesionFigures
from trainers.evaluation.outcome import BOX, Outcome, Truth
from trainers.matching import overlaps

LINK_IOU = 0.1
"""Boxes on neighbouring slices of a volume that overlap by at least this much are one object."""
VOLUME = ("patient_id", "volume")
"""Columns that name a volume: patients may have volumes of the same name."""


@dataclass(frozen=True)
class WholeLesions:
    """The 3-D lesions of a truth."""

    lesion_of_box: np.ndarray
    """Number of the lesion that each row of `truth.lesions` is a slice of; int64."""
    patient: np.ndarray
    """Position in `truth.patients`, one per lesion; int64."""
    diameter_mm: np.ndarray
    """Largest over the slices, one per lesion; NaN where it is not recorded."""
    patients: int
    """Of the truth, those without lesions included."""
    folds: np.ndarray | None = None
    """Fold of each patient; None without folds."""

    @staticmethod
    def of(truth: Truth) -> WholeLesions | None:
        """None where the volume or position of a slice is not recorded."""
        if truth.slices[["volume", "z"]].isna().any(axis=None):
            return None
        lesion = lesions_3d(truth)
        boxes = pd.DataFrame(
            {
                "patient": truth.patient_of_slice[truth.lesions["slice"].to_numpy(dtype=np.int64)],
                "diameter": truth.lesions["diameter_mm"].to_numpy(dtype=np.float64),
            }
        ).groupby(lesion)
        patient, diameter = boxes["patient"].first().to_numpy(), boxes["diameter"].max().to_numpy()
        return WholeLesions(lesion, patient, diameter, len(truth.patients), truth.fold_of_patient)

    def found(self, outcome: Outcome) -> np.ndarray:
        """Whether a detection hits each lesion on any of its slices; bool."""
        return pd.Series(outcome.found).groupby(self.lesion_of_box).any().to_numpy()


def lesion_figures(outcome: Outcome) -> LesionFigures | None:
    """Count across slices; None if volume or z of a slice is missing.

    A lesion is found if a detection hits it on any of its slices. Detections are linked from slice to slice; a chain in
    which none hits is one false positive.
    """
    truth = outcome.truth
    whole = WholeLesions.of(truth)
    if whole is None:
        return None
    hit_lesions = whole.found(outcome)
    chain = link_boxes(outcome.detections, truth.slices)
    hit = pd.Series(outcome.hit).groupby(chain).any().to_numpy() if len(chain) else np.zeros(0, bool)
    volumes = truth.slices.groupby(list(VOLUME)).ngroups
    return LesionFigures(
        sensitivity=float(hit_lesions.mean()),
        fps_per_volume=float((~hit).sum() / volumes),
        true_positives=int(hit_lesions.sum()),
        false_positives=int((~hit).sum()),
        lesions=len(hit_lesions),
        volumes=int(volumes),
        by_diameter=sensitivity_by_class(hit_lesions, diameter_class(whole.diameter_mm), tuple(DIAMETERS)),
    )


def lesions_3d(truth: Truth) -> np.ndarray:
    """Number of the 3-D lesion of each row of `truth.lesions`, from 0; int64.

    As annotated, or, where that is missing, by linking boxes from slice to slice.
    """
    if truth.lesions["lesion"].isna().any():
        return link_boxes(truth.lesions, truth.slices)
    named = truth.slices[list(VOLUME)].iloc[truth.lesions["slice"].to_numpy(dtype=np.int64)]
    named = named.assign(lesion=truth.lesions["lesion"].to_numpy())
    return named.groupby([*VOLUME, "lesion"], sort=False).ngroup().to_numpy(dtype=np.int64)


def link_boxes(boxes: pd.DataFrame, slices: pd.DataFrame) -> np.ndarray:
    """Join boxes that overlap by LINK_IOU on slices z and z + 1 of one volume.

    Args:
        boxes: columns `slice` (a position in `slices`) and BOX.
        slices: columns VOLUME and `z`.

    Returns:
        Number of the object that each box belongs to, from 0; int64.
    """
    where = boxes["slice"].to_numpy(dtype=np.int64)
    corners = boxes[list(BOX)].to_numpy(dtype=np.float64)
    rows_of = pd.Series(np.arange(len(where))).groupby(where).indices
    keys = zip(*(slices[name] for name in VOLUME), slices["z"], strict=True)
    place = {(patient, volume, int(z)): i for i, (patient, volume, z) in enumerate(keys)}
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for (patient, volume, z), below in place.items():
        above = place.get((patient, volume, z + 1))
        if above is None or below not in rows_of or above not in rows_of:
            continue
        mine, others = rows_of[below], rows_of[above]
        first, second = np.nonzero(overlaps(corners[mine][:, None], corners[others][None]) >= LINK_IOU)
        firsts.append(mine[first])
        seconds.append(others[second])
    pairs = (np.concatenate(firsts), np.concatenate(seconds))
    graph = coo_array((np.ones(len(pairs[0])), pairs), shape=(len(where), len(where)))
    return connected_components(graph, directed=False)[1].astype(np.int64)
