"""Windows of slices around boxes: what is known there, what is to be drawn, and how a drawing gets back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.inpainting.config import InpaintConfig
from trainers.pasting.lesions import Lesion

UPPER = 0.9
"""Quantile of a lesion's contrast that stands for it."""
SHIFT = 8
"""In training a box lies up to this part of the window away from its centre."""


@dataclass(frozen=True)
class Windows:
    """Some windows, of which the regions around the boxes are to be drawn."""

    images: np.ndarray
    """N x W x W uint8."""
    weights: np.ndarray
    """N x W x W float32: share that a drawing has in a pixel; 1 in the box, falling in the rim, 0 elsewhere and
    where nothing may be drawn."""
    contrast: np.ndarray
    """N x W x W float32: where the lesion is to be, how much brighter than its surroundings, as a share of white; else
    0."""


def box_of(lesion: Lesion) -> np.ndarray:
    """Where the annotated box of a lesion lies in its slice; 4 (x0, y0, x1, y1), whole pixels."""
    (top, left), (height, width) = lesion.corner, lesion.extent.shape
    return np.array([left, top, left + width, top + height]) + lesion.margins * [-1, -1, 1, 1]


def contrast_of(lesion: Lesion, top: int, left: int, size: int) -> np.ndarray:
    """A lesion's outline, filled with how much brighter than its surroundings it is, as a share of white.

    Args:
        top, left: where the first pixel of its extent lies in the slice.
        size: height and width of the slice, pixels.

    Returns:
        size x size float32.
    """
    filled = np.zeros((size, size), dtype=np.float32)
    height, width = lesion.extent.shape
    level = np.quantile(lesion.contrast[lesion.extent], UPPER) / 255
    filled[top : top + height, left : left + width] = level * lesion.extent
    return filled


def fits(box: np.ndarray, config: InpaintConfig) -> bool:
    """Whether a box and its rim fit into a window."""
    return bool((box[2:] - box[:2]).max() + 2 * config.rim <= config.window)


def corner_for(box: np.ndarray, size: int, window: int, shift: np.ndarray | None = None) -> tuple[int, int]:
    """Row and column of the first pixel of the window around a box.

    Args:
        box: 4 (x0, y0, x1, y1), pixels.
        size: height and width of the slice, pixels.
        shift: (right, down), pixels, away from the window in whose middle the box lies.
    """
    middle = (box[:2] + box[2:]) / 2 + (0 if shift is None else shift)
    left, top = np.clip(np.floor(middle - window / 2 + 0.5), 0, size - window).astype(int).tolist()
    return top, left


def weights_of(box: np.ndarray, corner: tuple[int, int], config: InpaintConfig) -> np.ndarray:
    """The share that a drawing at a box has in each pixel of a window; W x W float32."""
    places = np.arange(config.window)
    (top, left), (x0, y0, x1, y1) = corner, box
    rows, columns = (
        np.maximum(np.maximum(low - start - places, places - (high - 1 - start)), 0)
        for low, high, start in ((y0, y1, top), (x0, x1, left))
    )
    beyond = np.maximum(rows[:, None], columns[None])
    return np.clip(1 - beyond / (config.rim + 1), 0, 1).astype(np.float32)


class TrainingWindows:
    """The windows around the lesions of training slices, in an order that depends on the seed alone."""

    def __init__(self, config: InpaintConfig, images: np.ndarray, lesions: Sequence[Lesion]) -> None:
        """`images`: N x H x W uint8, in whose rows the lesions lie."""
        self._config, self._images, self._lesions = config, images, lesions
        self._epoch, self._order = -1, np.arange(0)

    def batch(self, images_shown: int, share: range) -> Windows:
        """The windows at some places of the step that follows `images_shown` windows.

        They are shifted, and mirrored and turned by quarters: a lesion has no upright position.
        """
        rng = np.random.default_rng([self._config.seed, 1, images_shown])
        reach = self._config.window // SHIFT
        shifts = rng.integers(-reach, reach + 1, (self._config.batch_size, 2))
        turns = rng.integers(8, size=self._config.batch_size)
        return self._stack(
            [
                tuple(_turned(part, turn) for part in self._window(self._at(images_shown + place), shifts[place]))
                for place, turn in zip(share, turns[share].tolist(), strict=True)
            ]
        )

    def examples(self, count: int) -> Windows:
        """The same windows at every call, as they are: at most `count`."""
        rng = np.random.default_rng([self._config.seed, 2])
        chosen = rng.permutation(len(self._lesions))[:count]
        return self._stack([self._window(self._lesions[number]) for number in chosen])

    def _window(self, lesion: Lesion, shift: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        config, box = self._config, box_of(lesion)
        side, size = config.window, self._images.shape[1]
        corner = top, left = corner_for(box, size, side, shift)
        window = np.s_[top : top + side, left : left + side]
        contrast = contrast_of(lesion, *lesion.corner, size)
        return self._images[lesion.row][window], weights_of(box, corner, config), contrast[window]

    def _stack(self, windows: Sequence[tuple[np.ndarray, ...]]) -> Windows:
        images, weights, contrast = (np.stack(parts) for parts in zip(*windows, strict=True))
        return Windows(images, weights, contrast)

    def _at(self, position: int) -> Lesion:
        epoch, offset = divmod(position, len(self._lesions))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self._config.seed, 0, epoch]).permutation(len(self._lesions))
        return self._lesions[self._order[offset]]


def _turned(part: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight ways, 0 to 7, to lay a square down."""
    return np.rot90(part if turn < 4 else part[:, ::-1], turn % 4)
