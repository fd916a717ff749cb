"""Slices of a cohort beside each other, with boxes and the outline of the brain."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np
from scipy import ndimage

from sweep.report.cohort.text import shortened
from trainers.data.quality.cohort_facts import CohortFacts, Prepared
from trainers.data.quality.volume_facts import VolumeFacts
from trainers.data.slice_set import Split

MOST_OF_SPLIT = 24
"""Slices of a split that are shown."""
SMOOTH = 0.7
"""Pixels of a slice by which an outline may differ from the brain's border."""


@dataclass(frozen=True)
class Thumbnail:
    """A slice; lengths in millimetres."""

    picture: str
    """Data URI."""
    width: float
    height: float
    boxes: tuple[tuple[float, float, float, float], ...]
    """x, y, width, height."""
    outline: str
    """Path of the brain's border in SVG; empty where it is unknown."""
    caption: str


@dataclass(frozen=True)
class Sheet:
    """Slices of one split."""

    split: str
    volumes: int
    """Of the split."""
    thumbnails: Sequence[Thumbnail]


def sheets(facts: CohortFacts) -> Iterator[Sheet]:
    """For every split a slice of some volumes, evenly chosen from those with lesions and without."""
    for split in get_args(Split):
        volumes = [of for of in facts.volumes if of.subject.split == split]
        shown = np.unique(np.linspace(0, len(volumes) - 1, min(len(volumes), MOST_OF_SPLIT)).astype(int))
        yield Sheet(split, len(volumes), [thumbnail(volumes[number], facts.prepared) for number in shown])


def thumbnail(of: VolumeFacts, prepared: Prepared | None) -> Thumbnail:
    """The view of a volume."""
    view, subject = of.view, of.subject
    boxes = tuple((x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in view.boxes.round(1).tolist())
    picture = f"data:image/jpeg;base64,{base64.b64encode(view.jpeg).decode()}"
    caption = f"{shortened(subject.patient_id)}, slice {view.z}, {shortened(subject.scanner)}"
    outline = "" if prepared is None else _outline(of, prepared)
    return Thumbnail(picture, round(view.size[0], 1), round(view.size[1], 1), boxes, outline, caption)


def _outline(of: VolumeFacts, prepared: Prepared) -> str:
    """The border of the brain on the prepared slice, which is black elsewhere."""
    picture = prepared.picture(of.subject.volume, of.view.z)
    record = prepared.record.volumes.get(of.subject.volume)
    if picture is None or record is None:
        return ""
    brain = np.asarray(ndimage.binary_fill_holes(picture > 0), dtype=np.uint8)
    borders, _ = cv2.findContours(np.pad(brain, 1), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    parts = []
    for border in borders:
        corners = cv2.approxPolyDP(border, SMOOTH, True)[:, 0].astype(np.float64) - 0.5  # the pad, and to the middle
        edges = record.geometry.to_canonical(np.column_stack([corners, corners]))[:, :2]
        points = of.view.place(edges).round(1)
        parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z")
    return "".join(parts)
