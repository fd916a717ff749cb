"""Which real slices a view lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboards.slices.detections import Found
from dashboards.slices.sets import Indexed
from dashboards.slices.view import OF_ARMS, View
from trainers.data.slice_set import SliceSet
from trainers.detector.dataset import detector_rows
from trainers.evaluation.outcome import BOX

OF_LESIONS: Mapping[str, Callable[[np.ndarray], Any]] = {
    "missed": lambda found: (~found).any(axis=0),
    "found": lambda found: found.any(axis=0),
    "gained": lambda found: ~found[0] & found[1:].any(axis=0),
    "lost": lambda found: found[0] & (~found[1:]).any(axis=0),
}
"""Value of `show` -> which lesions it is about, of a row per arm and a column per lesion (found or not)."""


def rows_of(slices: SliceSet, split: str) -> np.ndarray:
    """Rows of a split: those that detectors are evaluated on, or all that the GANs and detectors learn from; int64."""
    if split == "train":
        return slices.indices("train")
    return detector_rows(slices, "test" if split == "test" else "validation")


def lesion_sizes(lesions: pd.DataFrame) -> tuple[np.ndarray, str]:
    """Sizes of lesions and their unit: diameters in mm; where none is recorded, the longer side of each box."""
    if "diameter_mm" in lesions.columns and lesions["diameter_mm"].notna().any():
        return lesions["diameter_mm"].to_numpy(dtype=np.float64), "mm"
    corners = lesions[[*BOX]].to_numpy(dtype=np.float64)
    return (corners[:, 2:] - corners[:, :2]).max(axis=1, initial=0), "pixels"


def listed(view: View, slices: Indexed, found: Sequence[Found]) -> np.ndarray:
    """Rows of the slices that a view lists, in order; int64.

    Args:
        found: of the view's arms that are evaluated; without any, no slice is listed by what arms find.
    """
    table = slices.slices.slices
    rows = rows_of(slices.slices, view.source)
    keep = np.ones(len(table), dtype=np.bool_)
    for column, value in (("scanner", view.scanner), ("patient_id", view.patient)):
        if value:
            keep = keep & (table[column].astype(str) == value).to_numpy()
    for chosen in _chosen(view, slices, found):
        marked = np.zeros(len(table), dtype=bool)
        marked[chosen] = True
        keep &= marked
    return rows[keep[rows]]


def _chosen(view: View, slices: Indexed, found: Sequence[Found]) -> list[np.ndarray]:
    """Rows of slices to which the list is narrowed, one array for each reason."""
    bounded = view.least is not None or view.most is not None
    if view.show in OF_ARMS and not found:
        return [np.zeros(0, dtype=np.int64)]
    if view.show in OF_LESIONS:
        lesions = found[0].outcome.truth.lesions
        about = OF_LESIONS[view.show](np.stack([arm.outcome.found for arm in found]))
        return [found[0].lesion_rows[about & _within(view, lesions)]]
    narrowed = []
    if view.show == "fp":
        narrowed.append(found[0].rows[np.sum([arm.fps for arm in found], axis=0) > 0])
    if view.show == "lesions" or bounded:
        narrowed.append(slices.row_of_box[_within(view, slices.slices.boxes)])
    return narrowed


def _within(view: View, lesions: pd.DataFrame) -> np.ndarray:
    """Whether lesions are of the view's sizes; one of unknown size is, unless the view bounds sizes."""
    sizes, _ = lesion_sizes(lesions)
    within = np.ones(len(sizes), dtype=bool)
    if view.least is not None:
        within &= sizes >= view.least
    if view.most is not None:
        within &= sizes <= view.most
    return within
