"""The lesions of the training slices, cut from their surroundings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from trainers.data.conditions import BACKGROUND, LEAST_BRAIN, NOISE, UPPER, box_surroundings, whole_pixels
from trainers.data.slice_set import SliceSet
from trainers.detector.dataset import detector_rows
from trainers.documents import parsed
from trainers.exceptions import TrainingError
from trainers.gan.figures import contact_sheet
from trainers.pasting.membrane import membrane

FILE, COUNTS_FILE = "lesions.npz", "lesions.json"
SHOWN = 8
"""Slices in the picture."""
ALL_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Lesion:
    """A lesion without its surroundings."""

    row: int
    """Row of its slice in the slice set."""
    corner: tuple[int, int]
    """Row and column of its extent's first pixel in that slice."""
    contrast: np.ndarray
    """h x w float32, grey levels above the surroundings as they would continue beneath the lesion; 0 outside it."""
    extent: np.ndarray
    """h x w bool: the lesion, with a rim in which it fades into its surroundings."""
    margins: np.ndarray
    """4 float32, pixels: how far the annotated box reaches beyond the extent to the left, top, right and bottom."""


@dataclass(frozen=True)
class Counts:
    """What became of the boxes of the training split."""

    cut: int
    """Lesions."""
    left_out: int
    """Boxes whose lesion does not stand out, or lies at the edge of the brain."""


def cut_lesions(slices: SliceSet, out: Path) -> None:
    """Write the lesions of the training split into the folder `out`, with their counts and a picture.

    Raises:
        TrainingError: as `training_lesions`.
    """
    write_lesions(training_lesions(slices), slices, out)


def write_lesions(lesions: Sequence[Lesion], slices: SliceSet, out: Path) -> None:
    """Write lesions of the training split of a slice set as `cut_lesions` does; its other boxes count as left out."""
    boxes = slices.boxes_by_slice()
    of_split = sum(len(boxes[row]) for row in detector_rows(slices, "train"))
    (out / "figures").mkdir(parents=True, exist_ok=True)
    save_lesions(lesions, out)
    (out / COUNTS_FILE).write_text(json.dumps(asdict(Counts(len(lesions), of_split - len(lesions)))))
    _draw_lesions(lesions, slices, out / "figures" / "lesions.png")


def read_counts(folder: Path) -> Counts:
    """The counts that `cut_lesions` wrote; TrainingError if they are damaged."""
    file = folder / COUNTS_FILE
    return parsed(file.read_bytes(), Counts, file, TrainingError, "Cut the lesions again.")


def training_lesions(slices: SliceSet) -> list[Lesion]:
    """The lesions of the training split, in order of slices and boxes.

    Raises:
        TrainingError: no lesion, or all in one slice.
    """
    boxes = slices.boxes_by_slice()
    rows = detector_rows(slices, "train")
    lesions = [lesion for row in rows for lesion in _cut(slices.images[row], boxes[row], int(row))]
    if (of := len({lesion.row for lesion in lesions})) < 2:
        raise TrainingError(
            f"{slices.path}: lesions that stand out from their surroundings are in {of} of {len(rows)} training "
            "slices; needed to move lesions from slice to slice: at least 2. Add patients to the training split."
        )
    return lesions


def _cut(image: np.ndarray, boxes: np.ndarray, row: int) -> Iterator[Lesion]:
    """The lesions of one slice; those that do not stand out, or lie at the edge of the brain, are left out."""
    (surroundings,) = box_surroundings(image[None], [boxes])
    for box, (inside, ring) in zip(whole_pixels(boxes, len(image)).astype(int), surroundings, strict=True):
        brain = ring[ring > BACKGROUND]
        if not brain.size or brain.size < LEAST_BRAIN * ring.size:
            continue
        usual = float(np.median(brain))
        peak = float(np.quantile(inside, UPPER))
        if peak - usual < NOISE:
            continue
        x0, y0, x1, y1 = box.tolist()
        bright = np.zeros(image.shape, dtype=bool)
        bright[y0:y1, x0:x1] = inside > (usual + peak) / 2
        extent = grown(_largest_part(bright))
        rim = grown(extent) & ~extent
        if (image[rim] > BACKGROUND).mean() < 1 - LEAST_BRAIN:
            continue
        contrast = np.zeros(image.shape, dtype=np.float32)
        contrast[extent] = image[extent] - membrane(image, extent)
        window, (top, left, bottom, right) = bounds(extent)
        margins = np.array([left - x0, top - y0, x1 - right, y1 - bottom], dtype=np.float32)
        yield Lesion(row, (top, left), contrast[window], extent[window], margins)


def grown(mask: np.ndarray) -> np.ndarray:
    """A mask with the pixels that touch it at a side or a corner; H x W bool."""
    result = np.zeros(mask.shape, dtype=bool)
    ndimage.binary_dilation(mask, ALL_NEIGHBOURS, output=result)
    return result


def bounds(mask: np.ndarray) -> tuple[tuple[slice, slice], tuple[int, int, int, int]]:
    """The smallest window that holds a mask (H x W bool, not empty); and its first row and column, and the ends."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    top, left, bottom, right = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    return np.s_[top:bottom, left:right], (top, left, bottom, right)


def _largest_part(bright: np.ndarray) -> np.ndarray:
    """The largest part that touches itself, its holes filled: a lesion may have a dark core."""
    labels = np.zeros(bright.shape, dtype=np.int32)
    ndimage.label(ndimage.binary_closing(bright, ALL_NEIGHBOURS) | bright, ALL_NEIGHBOURS, output=labels)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(labels == sizes.argmax())  # pyright: ignore[reportReturnType]


def save_lesions(lesions: Sequence[Lesion], folder: Path) -> None:
    """Write lesions into an existing folder."""
    np.savez(
        folder / FILE,
        allow_pickle=False,
        rows=np.array([lesion.row for lesion in lesions]),
        corners=np.array([lesion.corner for lesion in lesions]),
        shapes=np.array([lesion.extent.shape for lesion in lesions]),
        contrast=np.concatenate([lesion.contrast.ravel() for lesion in lesions]),
        extent=np.concatenate([lesion.extent.ravel() for lesion in lesions]),
        margins=np.array([lesion.margins for lesion in lesions]),
    )


def read_lesions(folder: Path) -> list[Lesion]:
    """What `save_lesions` wrote; TrainingError if the folder holds none, or damaged ones."""
    try:
        with np.load(folder / FILE) as saved:
            rows, corners, shapes, margins = (saved[name] for name in ("rows", "corners", "shapes", "margins"))
            ends = np.cumsum(shapes.prod(axis=1))[:-1]
            contrast, extent = (np.split(saved[name], ends) for name in ("contrast", "extent"))
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{folder / FILE} cannot be read ({error}). Cut the lesions again.") from error
    return [
        Lesion(row, (top, left), levels.reshape(shape), inside.reshape(shape), own)
        for row, (top, left), shape, levels, inside, own in zip(
            rows.tolist(), corners.tolist(), shapes, contrast, extent, margins, strict=True
        )
    ]


def _draw_lesions(lesions: Sequence[Lesion], slices: SliceSet, path: Path) -> None:
    """Slices with their boxes; and what was cut from them, grey where it equals its surroundings."""
    rows = sorted({lesion.row for lesion in lesions})
    rows = [rows[place] for place in np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(int)]
    boxes = slices.boxes_by_slice()
    cut = np.zeros((len(rows), slices.size, slices.size), dtype=np.uint8)
    for lesion in lesions:
        if lesion.row in rows:
            window = tuple(
                np.s_[low : low + side] for low, side in zip(lesion.corner, lesion.extent.shape, strict=True)
            )
            levels = np.clip(128 + lesion.contrast, 0, 255)
            np.copyto(cut[rows.index(lesion.row)][window], levels, casting="unsafe", where=lesion.extent)
    contact_sheet(path, {"slices": slices.images[rows], "lesions": cut}, {"slices": [boxes[row] for row in rows]})
