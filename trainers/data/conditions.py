"""Conditioning images: black slices with white boxes, new ones drawn from annotation (paper section 2.2), and how
clearly a slice shows something at its boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field

from trainers.config import Config

REDRAWS = 20
UPPER = 0.9
"""Quantile of the grey levels inside a box that stands for the tumour."""
MAD_OF_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
NOISE = 8.0
"""Grey levels of 255 that count as noise where the brain around a box is smooth."""
BACKGROUND = 20
"""Grey levels of 255 up to which a pixel is no brain."""
LEAST_BRAIN = 0.25
"""Share of brain in the ring of a box below which the box lies outside the brain."""


class ConditionConfig(Config):
    """How far a drawn condition may lie from the training annotation it is made from."""

    horizontal_flip: bool = True
    """Whether half of the annotations are mirrored left-right."""
    vertical_flip: bool = True
    """Whether half of the annotations are mirrored top-bottom (as in the paper), which swaps front and back."""
    max_shift: float = Field(default=0.1, ge=0.0, le=0.5)
    """Largest shift along each axis, as a share of the slice's side; drawn uniformly from both directions."""
    max_zoom: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Largest relative zoom about the slice's centre; the factor is uniform between 1 - max_zoom and 1 + max_zoom."""
    min_box_side: float = Field(default=2.0, ge=1.0)
    """A draw that makes a box narrower than this many pixels (and than it was annotated) is drawn again."""
    min_visible: float = Field(default=0.5, gt=0.0, le=1.0)
    """A draw that leaves less than this share of a box's area within the slice is drawn again."""


def conditioning_images(boxes: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Paint one conditioning image per slice: 255 within its boxes, 0 elsewhere.

    Args:
        boxes: for each slice n x 4 (x0, y0, x1, y1) in pixels; n may be 0, which gives an all-black image.
        size: height and width of the images, pixels.

    Returns:
        N x size x size uint8. A pixel is white if and only if its centre lies in a box; a box without any pixel centre
        whitens the one pixel at its corner.
    """
    images = np.zeros((len(boxes), size, size), dtype=np.uint8)
    for image, boxes_of_slice in zip(images, boxes, strict=True):
        for x0, y0, x1, y1 in whole_pixels(boxes_of_slice, size).astype(int).tolist():
            image[y0:y1, x0:x1] = 255
    return images


def whole_pixels(boxes: np.ndarray, size: int) -> np.ndarray:
    """Clip boxes (n x 4, pixels) to the slice and round their edges; n x 4 float32, at least 1 pixel wide and high."""
    rounded = np.floor(np.clip(boxes, 0, size) + 0.5)
    low = np.minimum(rounded[:, :2], size - 1)
    return np.concatenate([low, np.maximum(rounded[:, 2:], low + 1)], axis=1).astype(np.float32)


def transform_boxes(
    boxes: np.ndarray, size: int, *, mirror_x: bool, mirror_y: bool, shift: tuple[float, float], zoom: float
) -> np.ndarray:
    """Mirror (left-right, top-bottom), zoom about the slice's centre, then shift boxes; they may leave the slice.

    Args:
        boxes: n x 4 (x0, y0, x1, y1), pixels.
        size: height and width of the slice, pixels.
        shift: (right, down), pixels.

    Returns:
        n x 4 float64, pixels.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 2, 2) - size / 2
    corners *= zoom * np.array([-1.0 if mirror_x else 1.0, -1.0 if mirror_y else 1.0])
    corners += size / 2 + np.asarray(shift, dtype=np.float64)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def choose_annotation(seed: int, image: int, attempt: int, annotations: int) -> tuple[int, np.random.Generator]:
    """The annotated slice that a synthetic slice's boxes are drawn from, of so many, and what draws them from it."""
    rng = np.random.default_rng([seed, 5, image, attempt])
    return int(rng.integers(annotations)), rng


def draw_condition(boxes: np.ndarray, size: int, config: ConditionConfig, rng: np.random.Generator) -> np.ndarray:
    """Draw a new condition from one slice's annotation: random flips, shift and zoom, the same for all of its boxes.

    A draw that shrinks or cuts a box too much (`min_box_side`, `min_visible`) is drawn again, at most REDRAWS times;
    then the annotation is only flipped, which loses nothing. No box is ever dropped.

    Returns:
        n x 4 float32 in whole pixels, within the slice.
    """
    for attempt in range(REDRAWS + 1):
        limit = 0.0 if attempt == REDRAWS else 1.0
        moved = transform_boxes(
            boxes,
            size,
            mirror_x=config.horizontal_flip and bool(rng.random() < 0.5),
            mirror_y=config.vertical_flip and bool(rng.random() < 0.5),
            shift=tuple(limit * size * config.max_shift * rng.uniform(-1.0, 1.0, 2)),
            zoom=1.0 + limit * config.max_zoom * rng.uniform(-1.0, 1.0),
        )
        visible = np.clip(moved, 0, size)
        if _is_whole(boxes, moved, visible, config):
            return whole_pixels(visible, size)
    return whole_pixels(visible, size)


def _is_whole(boxes: np.ndarray, moved: np.ndarray, visible: np.ndarray, config: ConditionConfig) -> bool:
    sides, annotated = _sides(visible), _sides(boxes)
    wide_enough = sides >= np.minimum(config.min_box_side, annotated)
    return bool(wide_enough.all() and (sides.prod(axis=1) >= config.min_visible * _sides(moved).prod(axis=1)).all())


def _sides(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, 2:] - boxes[:, :2]


def box_contrast(images: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
    """How much brighter each box is than the ring around it.

    The ring reaches half of the box's longer side (at least 2 pixels) beyond the box, and leaves out all other boxes of
    the slice.

    Args:
        images: N x H x W, any real type; the result is in its units (grey levels for uint8).
        boxes: for each image n x 4 (x0, y0, x1, y1) in pixels.

    Returns:
        One float32 per box, image by image: mean inside minus mean of the ring; NaN for a box without any ring.
    """
    contrasts = [
        float(inside.mean() - ring.mean()) if ring.size else float("nan")
        for surroundings in box_surroundings(images, boxes)
        for inside, ring in surroundings
    ]
    return np.array(contrasts, dtype=np.float32)


def visibility(images: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
    """How clearly the tumours of each slice stand out.

    A rough box holds tumour only in part, and its ring may hold background and vessels. So a box scores the upper
    decile inside it minus the median of the brain in its ring (see `box_contrast`), in units of that brain's spread:
    its median absolute deviation, scaled to a normal distribution's standard deviation, plus NOISE.

    Args:
        images: N x H x W uint8.
        boxes: for each image n x 4 (x0, y0, x1, y1) in pixels.

    Returns:
        N float64: the score of the slice's least visible box, without unit; inf for a slice without boxes. A box
        outside the brain, or one that covers the whole slice, stands out from nothing and scores 0.
    """
    scores = [
        min((stands_out(inside, ring) for inside, ring in surroundings), default=float("inf"))
        for surroundings in box_surroundings(images, boxes)
    ]
    return np.array(scores, dtype=np.float64)


def stands_out(inside: np.ndarray, ring: np.ndarray) -> float:
    """The score that `visibility` gives a box with these surroundings (`box_surroundings`)."""
    brain = ring[ring > BACKGROUND]
    if not brain.size or brain.size < LEAST_BRAIN * ring.size:
        return 0.0
    around = np.sort(brain).astype(np.float64)
    usual = around[len(around) // 2]
    deviation = np.sort(np.abs(around - usual))[len(around) // 2]
    bright = np.sort(inside, axis=None)[int(UPPER * (inside.size - 1))]
    return float((bright - usual) / (MAD_OF_NORMAL * deviation + NOISE))


def box_surroundings(images: np.ndarray, boxes: Sequence[np.ndarray]) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """For each image, for each of its boxes: pixels inside (h x w) and those of its ring (1-D; see `box_contrast`)."""
    size = images.shape[1]
    within = conditioning_images(boxes, size) > 0
    for image, white, boxes_of_slice in zip(images, within, boxes, strict=True):
        pairs = []
        for x0, y0, x1, y1 in whole_pixels(boxes_of_slice, size).astype(int).tolist():
            reach = max(2, (max(x1 - x0, y1 - y0) + 1) // 2)
            around = np.s_[max(0, y0 - reach) : y1 + reach, max(0, x0 - reach) : x1 + reach]
            pairs.append((image[y0:y1, x0:x1], image[around][~white[around]]))
        yield pairs
