"""One patient of the demo cohort: anatomy, lesions, vessels and scanner put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from trainers.data.annotation import COLUMNS
from trainers.data.demo.anatomy import deform
from trainers.data.demo.config import DemoCohortConfig
from trainers.data.demo.heads import load_head
from trainers.data.demo.lesions import Lesion, add_lesions, draw_count
from trainers.data.demo.scanner import Scanner, draw_scanner
from trainers.data.demo.tissue import Box, box_of
from trainers.data.demo.vessels import add_vessels
from trainers.data.mask import components
from trainers.data.slice_set import Kind, Split

LEAST_AREA_MM2 = 6.0
"""A smaller part of a lesion on a slice is left out of the mask and the boxes: nobody would mark it."""

_SPLITS: tuple[Split, ...] = (
    *("train", "validation", "test", "train", "train"),
    *("train", "test", "train", "train", "train"),
)
_BASE_HEAD: dict[Split, Literal["robex", "mni152"]] = {"train": "robex", "validation": "mni152", "test": "mni152"}


@dataclass(frozen=True)
class Patient:
    """A patient's volume in canonical orientation (axes to the right, front, top) with its ground truth."""

    scanner: Scanner
    volume: np.ndarray
    """X x Y x Z int16."""
    brain: np.ndarray
    """X x Y x Z bool."""
    labels: np.ndarray
    """X x Y x Z uint8: number of the lesion from 1, 0 elsewhere."""
    boxes: np.ndarray
    """Rough boxes, n x 5 int64 of COLUMNS: voxels, x1 and y1 exclusive."""
    lesions: int


def split_of(number: int) -> Split:
    """Split of tumour patient `number` (from 1): seven, one and two of every ten, and all three among the first three.

    It depends on the number alone, so that a larger cohort begins with the patients of a smaller one.
    """
    return _SPLITS[(number - 1) % len(_SPLITS)]


def base_head_of(kind: Kind, number: int) -> str:
    """The base head of a subject: validation and test patients never share one with training subjects."""
    return _BASE_HEAD["train" if kind == "normal" else split_of(number)]


def make_patient(kind: Kind, number: int, config: DemoCohortConfig) -> Patient:
    """Make subject `number` (from 1) of a kind, whatever their number; CohortError as in `load_head`."""
    rng = np.random.default_rng([config.seed, 1 if kind == "normal" else 0, number])
    image, depth, regions = deform(load_head(base_head_of(kind, number)), rng)
    scanner = draw_scanner(depth, rng)
    strength = 1.0 if scanner.tesla > 2 else 0.85  # enhancement is weaker at a lower field
    image = scanner.contrast(image)
    brain_box = box_of(depth > -3)
    brain, regions = image[brain_box], regions[brain_box]
    brain = add_vessels(brain, regions, strength, rng)
    lesions: list[Lesion] = []
    if kind == "tumour":
        count = draw_count(config.lesions_median, number, config.seed)
        brain, lesions = add_lesions(brain, depth[brain_box], regions, count, config.lesion_diameter_mm, strength, rng)
    image[brain_box] = brain
    volume = scanner.expose(scanner.acquire(image), rng)
    labels = _label(lesions, brain_box, scanner)
    boxes = rough_boxes(labels, rng)
    return Patient(scanner, volume, scanner.acquire(depth > 0) > 0.5, labels, boxes, int(labels.max()))


def rough_boxes(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Boxes as a hurried reader draws them: n x 5 int64 of COLUMNS, by slice.

    One box for each part of a lesion on a slice, wider than the part by one voxel and 0 to 15 % on each side.
    """
    boxes: list[list[int]] = []
    for z in np.flatnonzero(labels.any(axis=(0, 1))):
        plane = labels[:, :, z]
        for number in np.unique(plane[plane > 0]):
            for part in ndimage.find_objects(components(plane == number)):
                row = [int(z)]
                low = [int(s.start - 1 - np.round(rng.uniform(0, 0.15) * (s.stop - s.start))) for s in part]
                high = [int(s.stop + 1 + np.round(rng.uniform(0, 0.15) * (s.stop - s.start))) for s in part]
                row += [max(0, v) for v in low]
                row += [min(n, v) for n, v in zip(labels.shape[:2], high, strict=True)]
                boxes.append(row)
    return np.array(boxes, dtype=np.int64).reshape(-1, len(COLUMNS))


def _label(lesions: list[Lesion], brain_box: Box, scanner: Scanner) -> np.ndarray:
    """The lesions in the scanner's voxels: those that a lesion fills by half, or by 60 % of its best-filled voxel."""
    labels = np.zeros(scanner.shape, dtype=np.uint8)
    least = max(2, int(np.ceil(LEAST_AREA_MM2 / (scanner.spacing[0] * scanner.spacing[1]))))
    number = 0
    for lesion in lesions:
        first = [whole.start + part.start for whole, part in zip(brain_box, lesion.box, strict=True)]
        share = scanner.acquire(lesion.occupancy, (first[0], first[1], first[2]))
        filled = share > min(0.5, 0.6 * float(share.max()))
        for z in np.flatnonzero(filled.any(axis=(0, 1))):
            parts = components(filled[:, :, z])
            filled[:, :, z] &= (np.bincount(parts.ravel()) >= least)[parts]
        if filled.any():
            number += 1
            labels[filled] = number
    return labels
