"""What a trial's detector finds in one volume: boxes, lesions with their numbers, and frames on the scan's grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweep.lesions import link
from trainers.data.geometry import SliceGeometry
from trainers.data.slice_set import CORNERS
from trainers.evaluation.outcome import Outcome

FOUND, MISSED, HIT, FALSE_POSITIVE = KINDS = ("found", "missed", "hit", "false")
"""Of boxes: the first two are of lesions, the others of detections. Its number in a mask is its place, from 1."""
COLUMNS = ("kind", "z", *CORNERS, "confidence", "lesion", "diameter_mm")
"""Of a table of boxes: `z` is the canonical slice, corners are pixels. `confidence` is that of the detection, NaN of a
missed lesion; `lesion`, its number, and `diameter_mm` are NaN of detections."""


@dataclass(frozen=True)
class Finding:
    """A lesion, or false positives of neighbouring slices that overlap."""

    kind: str
    slices: tuple[int, ...]
    """Canonical z of each slice it is on."""
    found_on: int
    """On how many of them the detector finds it; 0 for a false positive."""
    confidence: float | None
    """The highest of its detections; None without one."""
    diameter_mm: float | None
    """Of a lesion, if it is known."""
    box: tuple[float, float, float, float]
    """Its box on the middle slice, pixels."""

    @property
    def z(self) -> int:
        """The middle slice."""
        return self.slices[len(self.slices) // 2]


def boxes_in(outcome: Outcome, volume: str) -> pd.DataFrame:
    """The boxes of one volume, columns COLUMNS: its lesions, then the detections."""
    slices = outcome.truth.slices
    here, z = (slices["volume"] == volume).to_numpy(), slices["z"].to_numpy()

    def located(table: pd.DataFrame, kinds: np.ndarray) -> pd.DataFrame:
        where = table["slice"].to_numpy(dtype=np.int64)
        return table.assign(kind=kinds, z=z[where])[here[where]]

    at = np.where(outcome.found, outcome.found_at, np.nan)
    lesions = located(outcome.truth.lesions.assign(confidence=at), np.where(outcome.found, FOUND, MISSED))
    detections = located(outcome.detections, np.where(outcome.hit, HIT, FALSE_POSITIVE))
    return pd.concat([table.reindex(columns=COLUMNS) for table in (lesions, detections)], ignore_index=True)


def findings(boxes: pd.DataFrame) -> list[Finding]:
    """Lesions in the volume's order, missed on every slice or found on some; then false positives, surest first."""
    lesions = boxes[boxes["kind"].isin((FOUND, MISSED))]
    false = boxes[boxes["kind"] == FALSE_POSITIVE].reset_index(drop=True)
    # Boxes of a slice set that numbers no lesions are lesions of their own.
    number = lesions["lesion"].fillna(pd.Series(-1 - np.arange(len(lesions)), index=lesions.index))
    return [*_grouped(lesions, number.to_numpy()), *_grouped(false, link(false) if len(false) else np.zeros(0))]


def _grouped(boxes: pd.DataFrame, number: np.ndarray) -> Iterator[Finding]:
    for _, rows in boxes.groupby(number):
        by_z = rows.sort_values("z", kind="stable")
        slices = tuple(by_z["z"].unique().tolist())
        central = by_z[by_z["z"] == slices[len(slices) // 2]].iloc[0]
        found = by_z.loc[by_z["kind"] == FOUND, "z"].nunique()
        false = central["kind"] == FALSE_POSITIVE
        yield Finding(
            FALSE_POSITIVE if false else FOUND if found else MISSED,
            slices,
            found,
            _known(by_z["confidence"].max()),
            _known(central["diameter_mm"]),
            (float(central["x0"]), float(central["y0"]), float(central["x1"]), float(central["y1"])),
        )


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def frames(boxes: pd.DataFrame, geometry: SliceGeometry) -> np.ndarray:
    """The boxes as frames one voxel wide on the grid of the volume's file, uint8: 0, or the number of a kind.

    A frame leaves the tissue within it to be seen; where frames cross, that of the later row is on top.
    """
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    edges = np.rint(geometry.to_file(boxes[CORNERS].to_numpy(), boxes["z"].to_numpy())).astype(np.int64)
    low = np.clip(edges[:, 0], 0, np.array(geometry.shape) - 1)
    high = np.clip(edges[:, 1], low + 1, geometry.shape)
    in_plane = [becomes != 2 for becomes, _ in geometry.orientation]
    for kind, begin, end in zip(boxes["kind"], low, high, strict=True):
        box = mask[tuple(map(slice, begin, end))]
        edge = np.ones(box.shape, dtype=bool)
        edge[tuple(slice(1, -1) if flat else slice(None) for flat in in_plane)] = False
        box[edge] = KINDS.index(kind) + 1
    return mask


def middle(box: tuple[float, ...], z: int, geometry: SliceGeometry) -> list[float]:
    """The middle of a box (x0, y0, x1, y1 pixels) on the canonical slice z: world millimetres, RAS+."""
    return geometry.to_world(np.array([box]), np.array([z]))[0].mean(axis=0).round(1).tolist()
