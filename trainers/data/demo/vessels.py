"""Bright vessels: what a detector takes for small metastases.

Without them bright-blob detection on the demo cohort would make no false positive at all.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from trainers.data.demo.tissue import Region

_TRIES = 6
_LONGEST = 40
_CHOROID_SPOTS = 60


def add_vessels(image: np.ndarray, regions: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Draw cortical veins, the superior sagittal sinus and the choroid plexus into a brain on a 1 mm grid.

    Args:
        image: X x Y x Z float32, white matter 1.
        regions: X x Y x Z uint8 of `Region`.
        strength: how strongly vessels enhance on this scanner, 1 is usual.

    Returns:
        X x Y x Z float32.
    """
    sulci = regions == Region.SULCUS
    bright = ndimage.gaussian_filter(_veins(sulci, rng), rng.uniform(0.75, 1.05)) * 6.5
    choroid = ndimage.gaussian_filter(_spots(regions == Region.CHOROID, rng), 0.8) * 2.6
    sinus = ndimage.gaussian_filter((regions == Region.SINUS).astype(np.float32), 0.9) * rng.uniform(0.9, 1.6)
    bright = np.maximum(np.minimum(bright, 2.2), np.maximum(np.minimum(choroid, 1.8), sinus))
    return image + strength * bright


def _veins(sulci: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random walks that keep to the sulci, all stepped at once: X x Y x Z float32, one bright voxel per step."""
    drawn = np.zeros(sulci.shape, dtype=np.float32)
    places = np.argwhere(sulci)
    count = int(rng.integers(140, 280))
    if not len(places):
        return drawn
    room = ndimage.gaussian_filter(sulci.astype(np.float32), 1.0)
    top = np.array(sulci.shape) - 1
    position = places[rng.integers(len(places), size=count)].astype(float)
    heading = _unit(rng.normal(size=(count, 3)))
    length = rng.integers(8, _LONGEST, size=count)
    level = rng.uniform(0.25, 1.3, count) * np.where(rng.random(count) < 0.3, 2.2, 1.2)
    alive = np.ones(count, dtype=bool)
    for step in range(_LONGEST):
        turns = _unit(heading[:, None] + rng.normal(0, 0.45, (count, _TRIES, 3)))
        ahead = position[:, None] + turns
        free = room[tuple(np.clip(np.round(ahead).astype(int), 0, top).transpose(2, 0, 1))]
        best = free.argmax(axis=1)
        alive &= (free.max(axis=1) >= 0.15) & (step < length)
        position = np.where(alive[:, None], ahead[np.arange(count), best], position)
        heading = turns[np.arange(count), best]
        index = np.clip(np.round(position[alive]).astype(int), 0, top)
        np.maximum.at(drawn, tuple(index.T), level[alive].astype(np.float32))
    return drawn


def _spots(choroid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    drawn = np.zeros(choroid.shape, dtype=np.float32)
    places = np.argwhere(choroid)
    if len(places):
        chosen = places[rng.integers(len(places), size=_CHOROID_SPOTS)]
        drawn[tuple(chosen.T)] = rng.uniform(2, 6, _CHOROID_SPOTS)
    return drawn


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
